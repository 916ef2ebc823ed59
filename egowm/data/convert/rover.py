"""Udacity's rover log: `robot_log.csv` with poses, and pictures named by their time.

Columns are separated by semicolons: Path, SteerAngle, Throttle, Brake, Speed, X_Position,
Y_Position in metres, Pitch, Yaw, Roll in degrees; yaw is counter-clockwise from +X.
"""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from egowm.data.convert.drive import Drive
from egowm.data.text import text_of
from egowm.paths import inside

COLUMNS = ("Path", "X_Position", "Y_Position", "Yaw")
_STAMP = re.compile(r"(\d{4}(?:_\d\d){5})_(\d{1,3})")


def read_rover(folder: Path) -> Drive:
    """The whole log as one drive; ValueError names the row that is wrong.

    The recorder writes absolute paths or others of its own machine: the picture is looked up by
    its name in `IMG`.
    """
    log = folder / "robot_log.csv"
    rows = list(csv.DictReader(text_of(log).splitlines(), delimiter=";"))
    if not rows or any(name not in rows[0] for name in COLUMNS):
        got = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise ValueError(f"{log}: expected columns {', '.join(COLUMNS)} split by ';', got {got}.")
    times, poses, pictures = [], [], []
    for number, row in enumerate(rows):
        # both kinds of path: the simulator runs on Windows too
        name = PurePosixPath(PureWindowsPath(row["Path"] or "").name).name
        times.append(_time(log, number, name))
        poses.append(_pose(log, number, row))
        pictures.append(inside(folder / "IMG", name, str(log)))
    stamps = np.array(times)
    if not (np.diff(stamps) > 0).all():
        raise ValueError(
            f"{log}: times do not rise after row {int(np.argmin(np.diff(stamps) > 0))}."
        )
    return Drive("rover", stamps, partial(_read, pictures), stamps, np.array(poses))


def _read(pictures: Sequence[Path], numbers: Collection[int]) -> Iterator[tuple[int, bytes]]:
    for k in numbers:
        yield k, pictures[k].read_bytes()


def _pose(log: Path, number: int, row: dict[str, str]) -> tuple[float, float, float]:
    try:
        x, y, degrees = (float(row[name]) for name in COLUMNS[1:])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{log}: row {number}: expected numbers ({error}); repair it.") from error
    if not np.isfinite([x, y, degrees]).all():
        raise ValueError(f"{log}: row {number}: expected finite numbers; repair it.")
    return x, y, float(np.deg2rad(degrees))


def _time(log: Path, number: int, name: str) -> float:
    match = _STAMP.search(name)
    if not match:
        raise ValueError(
            f"{log}: row {number}: expected a picture named by its time, "
            f"robocam_2017_05_02_11_16_21_421.jpg, got {name[:60]!r}."
        )
    whole = datetime.strptime(match[1], "%Y_%m_%d_%H_%M_%S")
    return (whole - datetime(2000, 1, 1)).total_seconds() + int(match[2]) / 1000
