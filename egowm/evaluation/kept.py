"""Predictions kept on disk by what they depend on, so that none is made twice.

Processes share the batches of an evaluation out by their numbers alone (`--shard 2/8`), each fills
the same folder, and the one that measures finds them all there. Batches stay what they are in one
process, so the frames are the same to the bit on machines of one kind.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from egowm.arrays import read_npz
from egowm.clip import Clip
from egowm.evaluation.stopwatch import Stopwatch
from egowm.files import FolderKind, check_folder, whole
from egowm.pixels import to_uint8
from egowm.shares import ALL, Share, items_of

log = logging.getLogger(__name__)
VERSION = 1  # raised when predictions are made or stored differently
HEX = "[0-9a-f]"
KEPT = FolderKind(
    "egowm eval --cache",
    rf"(predictions|tracks)(/{HEX}{{2}}(/{HEX}{{64}}\.npz)?)?",
    lambda folder: True,
)


@dataclass(frozen=True)
class Kept:
    """Where predictions are kept; without a folder nothing is.

    folder: of an evaluation's cache. about: the model and its settings, by what they hold. share:
    the batches that this process makes.
    """

    folder: Path | None = None
    about: Mapping[str, Any] | None = None
    share: Share = ALL

    def __post_init__(self) -> None:
        if self.folder is None:
            return
        if not self.about:
            raise ValueError("Expected a cache with `about`, which tells its models apart.")
        check_folder(self.folder, KEPT, force=True)  # one that was begun goes on
        for place in ("predictions", "tracks"):
            (self.folder / place).mkdir(parents=True, exist_ok=True)

    @property
    def tracks(self) -> Path | None:
        """Where the tracks of the clips' structures are kept."""
        return None if self.folder is None else self.folder / "tracks"

    def mine(self, batches: Iterable[range]) -> Sequence[range]:
        """The batches of this process."""
        return items_of(self.share, list(batches))

    def frames(
        self, batch: Clip, what: Sequence[Any], make: Callable[[], Tensor], watch: Stopwatch | None
    ) -> np.ndarray:
        """Frames (B, T, H, W, 3) uint8 of a batch: from the folder, or made now and stored.

        what: all that `make` depends on besides the batch and `about`: numbers, texts, tensors.
        make: gives (B, T, 3, H, W) in [0, 1]. watch: takes the time that it took, here or there.
        """
        path = None if self.folder is None else self._path(batch, what)
        found = None if path is None else _read(path)
        if found is None:
            began = 0 if watch is None else len(watch.seconds)
            made = np.stack([to_uint8(video) for video in make()])
            seconds = [] if watch is None else watch.seconds[began:]
            peak = 0 if watch is None else watch.peak
            if path is not None:
                _write(path, made, seconds, peak)
            return made
        if watch is not None:
            watch.seconds += found["seconds"].tolist()
            watch.peak = max(watch.peak, int(found["peak"]))
        return found["frames"]

    def _path(self, batch: Clip, what: Sequence[Any]) -> Path:
        """Named by the sha256 of everything that the frames depend on."""
        assert self.folder is not None
        digest = hashlib.sha256(json.dumps([VERSION, self.about], sort_keys=True).encode())
        for value in (*batch._replace(name=[]), *what):  # type: ignore[arg-type]
            digest.update(_bytes(value))
        key = digest.hexdigest()
        return self.folder / "predictions" / key[:2] / f"{key}.npz"


def _bytes(value: Any) -> bytes:
    """A value by its content, with its kind and shape."""
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous().numpy()
        return f"{array.dtype}{array.shape}".encode() + array.tobytes()
    if isinstance(value, tuple):  # a record of tensors
        return b"(" + b"".join(map(_bytes, value)) + b")"
    return json.dumps(value, sort_keys=True).encode()


def _read(path: Path) -> dict[str, np.ndarray] | None:
    try:
        found = read_npz(path)
        if found["frames"].dtype != np.uint8 or found["frames"].ndim != 5:
            raise ValueError("expected frames (B, T, H, W, 3) uint8")
        return {name: found[name] for name in ("frames", "seconds", "peak")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        log.warning("%s is damaged (%s): it is predicted again", path, error)
        return None


def _write(path: Path, frames: np.ndarray, seconds: Sequence[float], peak: int) -> None:
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            frames=frames,
            seconds=np.array(seconds, np.float64),
            peak=np.array(peak, np.int64),
        )
