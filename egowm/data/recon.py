"""RECON's raw recordings: a Jackal driving outdoors, one HDF5 file an episode (Shah et al. 2021).

Frames are JPEG byte strings in `images/rgb_left` and `images/rgb_right` (T,); poses are
`jackal/position` (T, 3) metres and `jackal/yaw` (T,) radians, counter-clockwise. The files carry no
times: 4 Hz, as NWM and EgoWM take them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.label_index import Index, read_indexed
from egowm.data.module import ClipData, Window
from egowm.data.normalisers import Normaliser, published_spacing, waypoint_range
from egowm.data.splits import Splits
from egowm.video import VideoError, decode_image

MOST_NUMBERS = 10_000_000


class Recon(ClipData):
    """RECON raw: `root/*.hdf5`, actions are the odometry's steps in the body frame.

    camera: "rgb_left" or "rgb_right". train_names, test_names: text files with one episode name a
    line (NWM's traj_names.txt); without them the sha256 of an episode's name decides, test_share of
    the episodes are test. val_share: of the training episodes, always by name. skip_corrupt: leave
    out files whose labels cannot be read, with a warning, in place of stopping. normaliser: "data"
    measures the actions' range on the training split; a data set's name takes EgoWM's published
    range with that data set's waypoint spacing.

    Raises FileNotFoundError for a missing root or no files, ValueError for a corrupt file.
    """

    meaning = ActionSpec(
        ("dx", "dy", "dyaw"), ("m", "m", "rad"), frame="body", kind="se2", rate_hz=4.0
    )

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        camera: Literal["rgb_left", "rgb_right"] = "rgb_left",
        train_names: str | None = None,
        test_names: str | None = None,
        val_share: float = 0.02,
        test_share: float = 0.2,
        skip_corrupt: bool = False,
        normaliser: Normaliser = "data",
    ) -> None:
        super().__init__(root, window, batch_size, num_workers, seed)
        self.camera, self.skip_corrupt, self.normaliser = camera, skip_corrupt, normaliser
        self.splits = Splits("Recon", train_names, test_names, val_share, test_share)

    @property
    def spec(self) -> ActionSpec:
        if self.normaliser == "data":
            return super().spec
        return waypoint_range(self.clip_meaning, published_spacing(self.normaliser))

    def episodes(self, split: str) -> list[Episode]:
        files = self._files()
        return read_indexed(
            f"Recon: reading {split} labels",
            self.splits.of(split, files, Path(self.root)),
            lambda name: read_episode(files[name], self.camera),
            self.skip_corrupt,
            Index(
                ["Recon", str(Path(self.root).expanduser().resolve()), self.camera],
                lambda name: (files[name],),
                lambda name, kept: _episode(files[name], self.camera, kept.actions),
            ),
        )

    def _files(self) -> dict[str, Path]:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"Recon: no folder {root}; pass --data.root PATH.")
        files = {path.stem: path for path in sorted(root.glob("*.hdf5"))}
        if not files:
            below = next(root.glob("*/*.hdf5"), None)
            hint = f" There are some in {below.parent}." if below else ""
            raise FileNotFoundError(f"Recon: looked for {root}/*.hdf5 and found none.{hint}")
        return files


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
            raise _bad(file, key, f"{len(values)} values for {num_frames} of {frames}")
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
    if h5py.h5f.get_name(place.id) != h5py.h5f.get_name(recording.id):
        raise _bad(file, key, "links to another file")
    return place


def _numbers(file: Path, recording: Any, key: str) -> np.ndarray:
    found = _dataset(file, recording, key)
    if found.size > MOST_NUMBERS:  # a few bytes of a compressed file can claim any shape
        raise _bad(file, key, f"shape {found.shape} is too large for the labels of one recording")
    try:
        return np.asarray(found, np.float64)
    except (OSError, TypeError, ValueError) as error:
        raise _bad(file, key, f"cannot be read ({error})") from error


def _bad(file: Path, key: str, what: str) -> ValueError:
    return ValueError(
        f"{file}: {key}: {what}. Copy the file again, or leave it out with skip_corrupt: true."
    )
