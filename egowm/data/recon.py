"""RECON's raw recordings: a Jackal driving outdoors, one HDF5 file an episode (Shah et al. 2021).

Frames are JPEG byte strings in `images/rgb_left` and `images/rgb_right` (T,); poses are
`jackal/position` (T, 3) metres and `jackal/yaw` (T,) radians, counter-clockwise. The files carry no
times: 4 Hz, as NWM and EgoWM take them.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.normalisers import WHEELED, Normaliser, published_spacing, waypoint_range
from egowm.data.recordings import Recordings, matching
from egowm.data.text import bad
from egowm.limits import BYTES, admit, ordinary
from egowm.video import VideoError, decode_image

log = logging.getLogger(__name__)
COPIES = 16  # of the labels, while steps are computed


class Recon(Recordings[Path]):
    """RECON's raw files; actions are the steps of the odometry in the body frame.

    >>> Recon("recon_release", Window(stride=2)).clip_meaning.rate_hz
    2.0

    Args:
        root: Folder of the files, `*.hdf5`.
        camera: Which of the two cameras.
        normaliser: "data" measures the actions' range on the training split; a data set's name
            takes EgoWM's published range with that data set's waypoint spacing.

    Raises:
        FileNotFoundError: No such folder, or no file in it.
        ValueError: A corrupt file.
    """

    meaning = WHEELED

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        camera: Literal["rgb_left", "rgb_right"] = "rgb_left",
        normaliser: Normaliser = "data",
        **rest: Any,
    ) -> None:
        super().__init__(root, window, latency_frames=0, **rest)
        self.camera, self.normaliser = camera, normaliser

    @property
    def spec(self) -> ActionSpec:
        if self.normaliser == "data":
            return super().spec
        return waypoint_range(self.clip_meaning, published_spacing(self.normaliser))

    def episodes(self, split: str) -> list[Episode]:
        found = super().episodes(split)
        if self.splits.train_names is None:
            _tell_own_split()
        return found

    def recordings(self) -> dict[str, Path]:
        return {path.stem: path for path in matching("Recon", self.folder, "*.hdf5")}

    def read(self, place: Path) -> Episode:
        return read_episode(place, self.camera)

    def files(self, place: Path) -> Sequence[Path]:
        return (place,)

    def made(self, place: Path, labels: Kept) -> Episode:
        return _episode(place, self.camera, labels.actions)

    def options(self) -> list[Any]:
        return [self.camera]


@cache  # once a process: a fit asks for several splits
def _tell_own_split() -> None:
    log.info(
        "RECON: divided by the hash of its names, so no number on it compares with a published "
        "one. With NWM's lists it does: --data.train_names FILE --data.test_names FILE."
    )


def read_episode(file: Path, camera: str) -> Episode:
    """The labels of one recording, its frames behind a reader; ValueError names a bad key."""
    frames, position, yaw = f"images/{camera}", "jackal/position", "jackal/yaw"
    with _opened(file) as recording:
        num_frames = len(_dataset(file, recording, frames))
        poses = {key: _numbers(file, recording, key) for key in (position, yaw)}
    if poses[position].ndim != 2 or poses[position].shape[1] < 2:
        raise _bad(file, position, f"expected (T, 2) or (T, 3), got {poses[position].shape}")
    where, heading = poses[position][:, :2], poses[yaw].reshape(-1)
    for key, values in ((position, where), (yaw, heading)):
        if len(values) != num_frames:
            raise _bad(file, key, f"{counted(len(values), 'value')} for {num_frames} of {frames}")
        if not np.isfinite(values).all():
            raise _bad(file, key, "holds values that are not finite")
    return _episode(file, camera, se2_steps(where, heading))


def _episode(file: Path, camera: str, steps: np.ndarray) -> Episode:
    return Episode(file.stem, len(steps) + 1, partial(read_frames, file, camera), steps)


def read_frames(file: Path, camera: str, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)`; opens and closes the file, so it may run in any process."""
    key = f"images/{camera}"
    with _opened(file) as recording:
        encoded = _dataset(file, recording, key)
        try:
            return np.stack([decode_image(bytes(encoded[k]), f"entry {k}") for k in indices])
        except (OSError, VideoError) as error:  # labels were fine, so skip_corrupt did not see it
            raise VideoError(
                f"{file}: {key}: {error}. Copy the file again, or move it out of the folder."
            ) from error


def se2_steps(position: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Poses to steps: `(T, 2)` metres and `(T,)` radians -> `(T-1, 3)` float32 dx, dy, dyaw.

    Step k is pose k+1 seen from pose k: x forward, y left, dyaw wrapped to [-pi, pi].
    """
    moved, turned = np.diff(np.asarray(position, np.float64), axis=0), np.diff(yaw)
    c, s = np.cos(yaw[:-1]), np.sin(yaw[:-1])
    x, y = c * moved[:, 0] + s * moved[:, 1], c * moved[:, 1] - s * moved[:, 0]
    return np.stack([x, y, np.arctan2(np.sin(turned), np.cos(turned))], -1).astype(np.float32)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    import h5py

    try:
        ordinary(file)
        recording = h5py.File(file, "r")
    except OSError as error:
        raise _bad(file, "the file", f"cannot be opened ({error})") from error
    with recording:
        yield recording


def _dataset(file: Path, recording: Any, key: str) -> Any:
    """A dataset that lies in this file; one that points into another file is not followed."""
    import h5py

    parts = key.split("/")
    try:  # h5py's lower level takes half the time: there are tens of thousands of files
        for path in ("/".join(parts[: k + 1]) for k in range(len(parts))):
            if recording.id.links.get_info(path.encode()).type == h5py.h5l.TYPE_EXTERNAL:
                link = recording.get(path, getlink=True)
                raise _bad(file, key, f"links to another file ({link.filename!r})")
        place = recording[key]
    except (KeyError, RuntimeError) as error:  # RuntimeError: no such link
        raise _bad(file, key, "no such key") from error
    if not isinstance(place, h5py.Dataset) or place.ndim == 0:
        raise _bad(file, key, "expected a dataset with a row for each frame")
    if place.external or place.is_virtual:
        raise _bad(file, key, "keeps its values in another file")
    stored = math.prod(place.chunks or place.shape[1:])  # is read at once
    admit(f"{file}: {key}", stored * place.dtype.itemsize, "bytes in one piece", BYTES)
    if h5py.h5f.get_name(place.id) != h5py.h5f.get_name(recording.id):
        raise _bad(file, key, "links to another file")
    return place


def _numbers(file: Path, recording: Any, key: str) -> np.ndarray:
    dataset = _dataset(file, recording, key)
    # a few bytes of a compressed file can claim any shape
    admit(f"{file}: {key}", dataset.size * 8 * COPIES, "bytes of labels and steps", BYTES)
    try:
        return np.asarray(dataset, np.float64)
    except (OSError, TypeError, ValueError) as error:
        raise _bad(file, key, f"cannot be read ({error})") from error


def _bad(file: Path, key: str, what: str) -> ValueError:
    return bad(file, f"{key}: {what}")
