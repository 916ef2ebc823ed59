"""Tracks kept on disk by what they depend on, so that no video is tracked twice."""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from egowm.arrays import read_npz
from egowm.files import FolderKind, check_folder, whole
from egowm.scs.trackers.base import Tracker, Tracks

logger = logging.getLogger(__name__)
TRACKS = FolderKind(
    "egowm-scs score --cache", r"[0-9a-f]{2}(/[0-9a-f]{64}\.npz)?", lambda folder: True
)
VERSION = 1  # raised when tracks are stored, or a built-in tracker works, differently


class CachedTracker(Tracker):
    """Another tracker that remembers: the same frames and masks give the stored tracks.

    The name of a file is the sha256 of the frames' pixels, the masks, and the tracker's name and
    options (for a tracker with weights, their sha256 among them). An interrupted scoring goes on
    where it stopped; several machines may fill one folder. A damaged file is made again.
    """

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.folder = tracker, folder
        self.name, self.warning = tracker.name, tracker.warning
        self.min_evidence, self.memory = tracker.min_evidence, tracker.memory
        check_folder(folder, TRACKS, force=True)  # one that was begun goes on
        folder.mkdir(parents=True, exist_ok=True)

    def options(self) -> dict[str, float | int | str]:
        """The tracker's own: the cache changes no score."""
        return self.tracker.options()

    def knows(self, frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """The tracker's own, kept as the evidence of tracks of one frame."""
        if type(self.tracker).knows is Tracker.knows:  # nothing is computed
            return self.tracker.knows(frame, masks)
        path = self._path(self.key(frame, masks))
        found = _read(path)
        if found is None:
            found = Tracks(masks[None], self.tracker.knows(frame, masks)[None])
            _write(path, found)
        known: np.ndarray = found.evidence[0]
        return known

    def environment(self) -> dict[str, str | None]:
        """The tracker's own."""
        return self.tracker.environment()

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Tracks from the folder, or tracked now and stored."""
        return self.track_many([frames], [masks])[0]

    def track_many(self, videos: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[Tracks]:
        """As `track`; what is not in the folder is tracked together, and equal videos once."""
        keys = [self.key(*pair) for pair in zip(videos, masks, strict=True)]
        found = {key: _read(self._path(key)) for key in keys}
        missing = [keys.index(key) for key, tracks in found.items() if tracks is None]
        given = [videos[k] for k in missing], [masks[k] for k in missing]
        made = self.tracker.track_many(*given) if missing else []
        for k, fresh in zip(missing, made, strict=True):
            found[keys[k]] = fresh
            _write(self._path(keys[k]), fresh)
        return [tracks for key in keys if (tracks := found[key]) is not None]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def key(self, frames: np.ndarray, masks: np.ndarray) -> str:
        """sha256 of everything that the tracks depend on."""
        about = [VERSION, self.name, self.options(), frames.shape, masks.shape]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(frames).tobytes())
        digest.update(np.packbits(masks).tobytes())
        return digest.hexdigest()


def _read(path: Path) -> Tracks | None:
    try:
        stored = read_npz(path)
        shape = tuple(stored["shape"].tolist())
        bits = np.unpackbits(stored["masks"], count=int(np.prod(shape)))
        return Tracks(bits.reshape(shape).astype(bool), stored["evidence"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        logger.warning("%s is damaged (%s): it is tracked again", path, error)
        return None


def _write(path: Path, tracks: Tracks) -> None:
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            masks=np.packbits(tracks.masks),
            shape=np.array(tracks.masks.shape),
            evidence=tracks.evidence,
        )
