"""Recordings of wheeled robots turned into NWM folders: `<output>/<name>/{0..T-1}.jpg` and
`traj_data.pkl` with position (T, 2), yaw (T,) and time (T,) in seconds.

The rules are those of NWM's preprocessing, each of which can be switched off: pictures at 4 Hz,
each with the pose interpolated at its time; a centre crop to 4:3; a trajectory is cut, and the
frames between left out, where the robot stands or drives backward, and where time jumps. It is also
cut where the odometry has a hole.
"""

import pickle
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from egowm.data.times import surrounded
from egowm.video import decode_image, resize, write_image

STANDS = 0.01  # m/s


class Drive(NamedTuple):
    """One recording: picture times (N,), pose times (M,), poses (M, 3) as x, y in metres and yaw in
    radians, counter-clockwise. pictures: their numbers, in any order -> each with its encoded
    bytes, once, in the order that suits the recording; one is in memory at a time."""

    name: str
    times: np.ndarray
    pictures: Callable[[Collection[int]], Iterator[tuple[int, bytes]]]
    pose_times: np.ndarray
    poses: np.ndarray


class Rules(NamedTuple):
    """How a drive is cut. rate_hz 0 keeps every picture. max_gap_s: between two pictures,
    max_pose_gap_s: between the poses around a picture, whose own is interpolated between them."""

    rate_hz: float = 4.0
    crop: bool = True
    keep_backward: bool = False
    max_gap_s: float = 1.0
    shortest: int = 10
    max_pose_gap_s: float = 0.3


def segments(drive: Drive, rules: Rules) -> list[np.ndarray]:
    """Numbers of the pictures of each trajectory, after the rules."""
    inside = (drive.times >= drive.pose_times[0]) & (drive.times <= drive.pose_times[-1])
    chosen = np.flatnonzero(inside)
    if rules.rate_hz:
        # the latest picture at each tick, as NWM's preprocessing takes it
        ticks = np.arange(drive.times[chosen[0]], drive.times[chosen[-1]], 1 / rules.rate_hz)
        latest = np.searchsorted(drive.times[chosen], ticks, side="right") - 1
        chosen = chosen[np.unique(latest)]
    times, poses = drive.times[chosen], poses_at(drive, drive.times[chosen])
    # in a hole of the odometry a line would be drawn that nobody drove
    known = surrounded(times, drive.pose_times, rules.max_pose_gap_s)
    known |= np.isin(times, drive.pose_times)
    broken = (np.diff(times) > rules.max_gap_s) | ~known[1:] | ~known[:-1]
    if not rules.keep_backward:
        moved, half = np.diff(poses[:, :2], axis=0), poses[:-1, 2] + np.diff(poses[:, 2]) / 2
        ahead = moved[:, 0] * np.cos(half) + moved[:, 1] * np.sin(half)
        broken |= ahead <= STANDS * np.diff(times)
    parts = np.split(chosen, np.flatnonzero(broken) + 1)
    return [part for part in parts if len(part) >= max(2, rules.shortest)]


def poses_at(drive: Drive, times: np.ndarray) -> np.ndarray:
    """Poses (N, 3) at `times`, on a line between measurements; yaw is unwrapped."""
    columns = (*drive.poses[:, :2].T, np.unwrap(drive.poses[:, 2]))
    return np.stack([np.interp(times, drive.pose_times, column) for column in columns], 1)


def write_folders(
    folders: Sequence[Path], drive: Drive, parts: Sequence[np.ndarray], crop: bool
) -> None:
    """Trajectories as NWM's preprocessing writes them, and their times besides; the recording's
    pictures are gone through once."""
    files: dict[int, Path] = {}
    for folder, part in zip(folders, parts, strict=True):
        folder.mkdir(parents=True)
        files |= {int(k): folder / f"{number}.jpg" for number, k in enumerate(part)}
        _write_labels(folder, drive, part)
    for k, data in drive.pictures(files):
        frame = decode_image(data, f"{drive.name}: picture {k}")
        if crop:
            height, width = frame.shape[:2]
            shape = (height, height * 4 // 3) if 3 * width > 4 * height else (width * 3 // 4, width)
            frame = resize(frame[None], *shape, crop=True)[0]
        write_image(files[k], frame)


def _write_labels(folder: Path, drive: Drive, part: np.ndarray) -> None:
    times = drive.times[part]
    poses = poses_at(drive, times)
    labels = {"position": poses[:, :2], "yaw": poses[:, 2], "time": times - times[0]}
    with (folder / "traj_data.pkl").open("wb") as out:
        pickle.dump(labels, out)
