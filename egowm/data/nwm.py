"""Folders of NWM, NoMaD and ViNT: RECON, SCAND, TartanDrive, SACSoN and others preprocessed so.

`<root>/<trajectory>/{0..T-1}.jpg` and `traj_data.pkl`, a dictionary of `position` (T, 2) in metres
and `yaw` (T,) or (T, 1) in radians, counter-clockwise, at 4 Hz.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.data.array_pickle import read_array_pickle
from egowm.data.episode import Episode
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.normalisers import WHEELED, Normaliser, published_spacing, waypoint_range
from egowm.data.recon import se2_steps
from egowm.data.recordings import Recordings, matching
from egowm.data.text import ADVICE, bad
from egowm.data.times import rate_of
from egowm.video import read_images

LABELS = "traj_data.pkl"
RATE_TOLERANCE = 0.05


class NWM(Recordings[Path]):
    """A data set as NWM's preprocessing leaves it; actions are the steps in the body frame.

    >>> NWM("scand", normaliser="scand").spec.high  # metres forward and left, radians
    (1.9, 1.52, 1.0)

    Args:
        root: Folder of the trajectories' folders.
        normaliser: "data" measures the actions' range on the training split; a data set's name
            takes EgoWM's published range with that data set's waypoint spacing.
        spacing: Metres between waypoints for that range, in place of a data set's.
        rate_hz: Rate of the frames; without it that of the first trajectory's times, where it has
            some, or 4 Hz, the format's own, also where times are 5% off it at most.

    Raises:
        FileNotFoundError: No such folder, or no trajectory in it.
        ValueError: A trajectory whose labels or frame numbers are wrong.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        normaliser: Normaliser = "data",
        spacing: float | None = None,
        rate_hz: float | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(root, window, latency_frames=0, **rest)
        self.rate_hz = rate_hz
        if spacing is not None and (spacing <= 0 or normaliser != "data"):
            raise ValueError(
                f"NWM: spacing is metres above 0, and in place of a named normaliser; got spacing "
                f"{spacing} with normaliser {normaliser!r}."
            )
        if normaliser != "data":
            spacing = published_spacing(normaliser)
        self.spacing = spacing

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        return replace(WHEELED, rate_hz=self.rate_hz or self._own_rate())

    def _own_rate(self) -> float:
        """Hz by the times of the first trajectory that can be read."""
        usual = WHEELED.rate_hz
        places: Iterable[Path] = ()
        with suppress(FileNotFoundError):  # told when the recordings are read
            places = self.recordings().values()
        for place in places:
            with suppress(ValueError, FileNotFoundError):
                rate = rate_of(self.read(place).times) or usual
                return usual if abs(rate - usual) <= RATE_TOLERANCE * usual else rate
        return usual

    @property
    def spec(self) -> ActionSpec:
        if self.spacing is None:
            return super().spec
        return waypoint_range(self.clip_meaning, self.spacing)

    def recordings(self) -> dict[str, Path]:
        labels = matching("NWM", self.folder, f"*/{LABELS}")
        return {path.parent.name: path.parent for path in labels}

    def read(self, place: Path) -> Episode:
        return read_trajectory(place)

    def files(self, place: Path) -> Sequence[Path]:
        return (place / LABELS, place)

    def made(self, place: Path, labels: Kept) -> Episode:
        return _episode(place, labels.actions, labels.times)


def read_trajectory(folder: Path) -> Episode:
    """The labels of one trajectory, its frames behind a reader; ValueError names what is wrong."""
    file = folder / LABELS
    try:
        labels = read_array_pickle(file)
    except ValueError as error:
        raise ValueError(f"{error}. {ADVICE}") from error
    position, yaw = (_numbers(file, labels, key) for key in ("position", "yaw"))
    if position.ndim != 2 or position.shape[1] != 2:
        raise bad(file, f"position: expected (T, 2), got {position.shape}")
    if yaw.shape not in ((len(yaw),), (len(yaw), 1)):
        raise bad(file, f"yaw: expected (T,) or (T, 1), got {yaw.shape}")
    num_frames = count_frames(folder)
    for key, values in (("position", position), ("yaw", yaw)):
        if len(values) != num_frames:
            found, frames = counted(len(values), "value"), counted(num_frames, "frame")
            raise bad(file, f"{key}: {found} for {frames}")
    times = np.zeros(0)
    if "time" in labels:  # `egowm data convert` writes it, NWM's own preprocessing does not
        times = _numbers(file, labels, "time")
        if times.shape != (num_frames,):
            raise bad(file, f"time: expected ({num_frames},), got {times.shape}")
    return _episode(folder, se2_steps(position, yaw.reshape(-1)), times)


def _episode(folder: Path, steps: np.ndarray, times: np.ndarray) -> Episode:
    read = partial(read_frames, folder)
    return Episode(folder.name, len(steps) + 1, read, steps, times=times)


def count_frames(folder: Path) -> int:
    """Number of frames 0.jpg, 1.jpg ...; ValueError for a gap or a frame named otherwise."""
    names = [path.name for path in folder.glob("*.jpg") if path.name[0] != "."]
    strange = sorted(name for name in names if not re.fullmatch(r"(0|[1-9]\d*)\.jpg", name))
    if strange:
        raise bad(folder, f"expected frames 0.jpg, 1.jpg ..., got {strange[0]}")
    numbers = {int(name.removesuffix(".jpg")) for name in names}
    missing = next((k for k in range(len(numbers)) if k not in numbers), None)
    if missing is not None or not numbers:
        raise bad(
            folder,
            f"{missing or 0}.jpg is missing, {counted(len(numbers), 'frame')} up to "
            f"{max(numbers, default=0)}",
        )
    return len(numbers)


def read_frames(folder: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)` of a trajectory, by number."""
    return read_images([folder / f"{k}.jpg" for k in indices])


def _numbers(file: Path, labels: Any, key: str) -> np.ndarray:
    if not isinstance(labels, dict) or key not in labels:
        got = ", ".join(map(str, labels)) if isinstance(labels, dict) else type(labels).__name__
        raise bad(file, f"expected a dictionary with {key}, got {got}")
    try:
        values = np.asarray(labels[key], np.float64)
    except (TypeError, ValueError) as error:
        raise bad(file, f"{key}: not numbers ({error})") from error
    if values.ndim == 0 or not np.isfinite(values).all():
        raise bad(file, f"{key}: expected finite numbers, one row for each frame")
    return values
