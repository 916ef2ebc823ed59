"""A recording of a wheeled robot turned into NWM folders: its format found, read, cut, written."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from egowm.checks import counted
from egowm.data.convert.drive import Drive, Rules, segments, write_folders
from egowm.data.convert.ros_bag import read_bag
from egowm.data.convert.rover import read_rover
from egowm.files import FolderKind, check_folder, filled
from egowm.readable import readable

CONVERTED = FolderKind("egowm data convert", r"[^/]+_\d+/(\d+\.jpg|traj_data\.pkl)")


def convert(
    path: Path,
    output: Path,
    rules: Rules = Rules(),
    *,
    yaw_offset: float = 0.0,
    images: str | None = None,
    odometry: str | None = None,
    force: bool = False,
) -> Iterator[str]:
    """Write the folders, all or none; yields a line for each.

    Args:
        path: a folder with `robot_log.csv`, a ROS 1 bag or the folder of a ROS 2 bag.
        output: folder to write.
        rules: how a recording is cut.
        yaw_offset: degrees added to yaw.
        images: ROS topic of the pictures; needed where there are several.
        odometry: ROS topic of the odometry; needed where there are several.
        force: replace folders that were written before.
    """
    check_folder(output, CONVERTED, force)
    if rules.rate_hz < 0 or min(rules.max_gap_s, rules.max_pose_gap_s) <= 0 or rules.shortest < 2:
        raise ValueError("convert: rate is 0 or more, gaps are above 0, shortest at least 2.")
    lines: list[str] = []
    turn = np.array([0.0, 0.0, np.deg2rad(yaw_offset)])
    with filled(output, CONVERTED) as whole:
        for drive in _drives(path, images, odometry):
            drive = drive._replace(poses=drive.poses + turn)
            parts = segments(drive, rules)
            names = [f"{drive.name}_{len(lines) + k}" for k in range(len(parts))]
            write_folders([whole / name for name in names], drive, parts, rules.crop)
            written = zip(names, parts, strict=True)
            lines += [f"{output / name}: {counted(len(part), 'frame')}" for name, part in written]
        if not lines:
            raise ValueError(
                f"{path}: no stretch of {counted(rules.shortest, 'frame')} is left: see "
                f"--keep_backward, --max_gap, --max_pose_gap, --shortest."
            )
    yield from lines


def _drives(path: Path, images: str | None, odometry: str | None) -> Iterator[Drive]:
    if (path / "robot_log.csv").is_file():
        yield read_rover(path)
    elif path.suffix == ".bag" or (path / "metadata.yaml").is_file():
        with readable(path, "a ROS bag"):
            drive = read_bag(path, images, odometry)
        yield drive
    else:
        raise FileNotFoundError(
            f"{path}: expected a folder with robot_log.csv, a ROS 1 .bag file or a ROS 2 bag "
            f"folder with metadata.yaml."
        )
