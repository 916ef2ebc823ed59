"""TUM RGB-D sequences: a hand-held camera with motion-capture poses (Sturm et al. 2012).

A sequence is a folder with `rgb/*.png`, `groundtruth.txt` (rows `time tx ty tz qx qy qz qw`: the
camera's pose in the world, metres, at about 100 Hz) and, in the original, `rgb.txt` (rows
`time file`); without it a picture's name is its time. The camera's frame is x right, y down, z
forward.
"""

import logging
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.actions.poses import product, quaternion, rotated, rotation_vector
from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.module import Window
from egowm.data.public_recordings import missing
from egowm.data.recordings import LongRecordings
from egowm.data.text import text_of
from egowm.data.times import breaks, surrounded
from egowm.paths import inside
from egowm.readable import readable
from egowm.video import read_images

log = logging.getLogger(__name__)


class TumRgbd(LongRecordings):
    """One sequence, or a folder of sequences; actions are steps of the camera's pose, 6-DoF.

    >>> TumRgbd("desk", Window(stride=3), rate_hz=30.0).clip_meaning.rate_hz
    10.0

    Args:
        root: Folder of the sequence, which holds groundtruth.txt, or of several such folders.
        rate_hz: Rate of the pictures; without it the median of the first sequence's times.
        max_gap_s: Seconds between two measured poses; a picture is used where poses at most that
            far apart surround it, and its pose is interpolated between them.
        normaliser: How each dimension is scaled to about [-1, 1].

    Raises:
        FileNotFoundError: No sequence.
        ValueError: A file that is wrong; the message names it and the row.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        rate_hz: float | None = None,
        max_gap_s: float = 0.05,
        normaliser: NormaliserName = "min-max",
        **rest: Any,
    ) -> None:
        super().__init__(root, window, latency_frames=0, **rest)
        self.rate_hz, self.max_gap_s, self.normaliser = rate_hz, max_gap_s, normaliser
        self._told: set[Path] = set()  # sequences whose gaps were named

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        rate = self.rate_hz
        if rate is None:
            times, _ = read_pictures(self._sequences()[0])
            rate = round(1 / float(np.median(np.diff(times))), 3)
        names, units = ("dx", "dy", "dz", "rx", "ry", "rz"), ("m",) * 3 + ("rad",) * 3
        normalisers = (self.normaliser,) * 6
        return ActionSpec(names, units, "body", "se3", rate, normalisers=normalisers)

    def episodes(self, split: str) -> list[Episode]:
        return [e for folder in self._sequences() for e in self._episodes_of(folder, split)]

    def _sequences(self) -> list[Path]:
        root = self.folder
        if (root / "groundtruth.txt").is_file():
            return [root]
        folders = sorted(path.parent for path in root.glob("*/groundtruth.txt"))
        if not folders:
            raise missing(
                "TumRgbd",
                root,
                f"looked for {root}/groundtruth.txt and {root}/*/groundtruth.txt and found none; "
                f"pass --data.root PATH.",
            )
        return folders

    def _episodes_of(self, folder: Path, split: str) -> list[Episode]:
        """The unbroken stretches of a sequence that lie in a split."""
        times, files = read_pictures(folder)
        measured, where, turn = read_poses(folder / "groundtruth.txt")
        known = surrounded(times, measured, self.max_gap_s)
        if not known.all():
            self._tell_gaps(folder, times[~known], measured, not known.any())
        first, last = self.span(split, len(times))
        holes = np.union1d(breaks(times, None), np.flatnonzero(~known[1:] | ~known[:-1]) + 1)
        episodes = []
        for part in np.split(np.arange(len(times)), holes):
            part = part[(part >= first) & (part < last) & known[part]]
            if len(part) < 2:
                continue
            poses = interpolated(times[part], measured, where, turn)
            read = partial(read_pngs, [files[k] for k in part])
            name = f"{folder.name}_{part[0]:05d}"
            steps = se3_steps(*poses)
            episodes.append(Episode(name, len(part), read, steps, times=times[part]))
        return episodes

    def _tell_gaps(
        self, folder: Path, left: np.ndarray, measured: np.ndarray, refuse: bool
    ) -> None:
        """Say which pictures, at times `left`, have no pose, and what mends it; refuse all."""
        after = np.searchsorted(measured, left, side="right")
        within = (after > 0) & (after < len(measured))
        apart = measured[after[within]] - measured[after[within] - 1]
        outside = len(left) - len(apart)
        parts = [f"{outside} before the first or after the last pose"] if outside else []
        if len(apart):
            parts.append(
                f"{len(apart)} between poses {apart.min():.3g} to {apart.max():.3g} s apart, where "
                f"max_gap_s is {self.max_gap_s:g} (set max_gap_s: {apart.max() * 1.01:.3g} to "
                f"interpolate there, too)"
            )
        text = f"{folder}: {counted(len(left), 'picture')} without a pose: {' and '.join(parts)}"
        if refuse:
            raise ValueError(f"{text}. No picture is left.")
        if folder not in self._told:
            log.warning("%s. They are left out.", text)
            self._told.add(folder)


def read_pngs(files: list[Path], indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)` of an episode whose pictures are `files`."""
    return read_images([files[k] for k in indices])


def read_pictures(folder: Path) -> tuple[np.ndarray, list[Path]]:
    """Times (N,) in seconds, rising, and files of a sequence's colour pictures."""
    listing = folder / "rgb.txt"
    if listing.is_file():
        rows = _rows(listing, 2)
        named = [(_float(listing, row[0]), inside(folder, row[1], str(listing))) for row in rows]
    else:
        pictures = [path for path in folder.glob("rgb/*.png") if path.name[0] != "."]
        named = [(_float(path, path.stem), path) for path in pictures]
    named.sort()
    times = np.array([time for time, _ in named])
    if len(times) < 3 or not (np.diff(times) > 0).all():
        raise ValueError(
            f"{folder}: expected 3 or more pictures at rising times, got {len(times)}."
        )
    return times, [file for _, file in named]


def read_poses(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (M,), positions (M, 3) and unit quaternions (M, 4) as w, x, y, z."""
    values = np.array([[_float(file, cell) for cell in row] for row in _rows(file, 8)])
    order = np.argsort(values[:, 0], kind="stable")
    values = values[order]
    norm = np.linalg.norm(values[:, 4:], axis=1)
    if len(bad := np.flatnonzero(np.abs(norm - 1) > 0.01)):
        raise ValueError(
            f"{file}: pose {bad[0]}: expected a unit quaternion, got norm {norm[bad[0]]:g}."
        )
    turn = values[:, [7, 4, 5, 6]] / norm[:, None]
    return values[:, 0], values[:, 1:4], turn


def interpolated(
    times: np.ndarray, measured: np.ndarray, where: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Poses at `times`: positions (N, 3) on a line, quaternions (N, 4) on the shortest arc."""
    after = np.clip(np.searchsorted(measured, times, side="right"), 1, len(measured) - 1)
    share = (times - measured[after - 1]) / (measured[after] - measured[after - 1])
    share = share[:, None]
    step = rotation_vector(product(conjugate(turn[after - 1]), turn[after]))
    position = (1 - share) * where[after - 1] + share * where[after]
    return position, product(turn[after - 1], quaternion(share * step))


def se3_steps(where: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Poses (N, 3), (N, 4) to steps (N-1, 6) float32: each pose in the frame of the one before."""
    back = conjugate(turn[:-1])
    moved = rotated(back, np.diff(where, axis=0))
    turned = rotation_vector(product(back, turn[1:]))
    return np.concatenate([moved, turned], 1).astype(np.float32)


def conjugate(unit: np.ndarray) -> np.ndarray:
    """The inverse of unit quaternions (..., 4)."""
    return unit * np.array([1.0, -1.0, -1.0, -1.0])


def _rows(file: Path, width: int) -> list[list[str]]:
    """A table of words; lines that begin with # are comments."""
    if not file.is_file():
        raise FileNotFoundError(f"TumRgbd: {file} is missing; copy the sequence again.")
    with readable(file, "a table of words"):
        lines = text_of(file).replace(",", " ").splitlines()
    rows = [line.split() for line in lines if line.strip() and line.lstrip()[0] != "#"]
    for number, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"{file}: row {number}: expected {width}, got {len(row)} values.")
    if not rows:
        raise ValueError(f"{file}: holds no rows; copy the sequence again.")
    return rows


def _float(file: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{file}: expected a finite number, got {text[:40]!r}; repair it.")
    return value
