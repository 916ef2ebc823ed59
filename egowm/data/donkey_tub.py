"""Donkey Car tubs of version 2: a small car's camera with the driver's commands.

A tub is a folder with `manifest.json` (JSON lines; the last one names the catalogs and the deleted
records), `catalog_*.catalog` (one record a line: `_index`, `_timestamp_ms`, the picture's name,
`user/angle`, `user/throttle`, `user/mode`) and `images/`. Commands are in [-1, 1]: angle -1 full
left, +1 full right; throttle +1 full ahead. There is no odometry.
"""

import json
import logging
from collections.abc import Sequence
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.module import Window
from egowm.data.public_recordings import missing
from egowm.data.recordings import LongRecordings
from egowm.data.text import text_of
from egowm.paths import inside
from egowm.video import read_images

log = logging.getLogger(__name__)
Record = dict[str, Any]
PICTURE = "cam/image_array"
LARGEST_MS = 1e15  # of a time: the year 33658
DEFAULT_HZ, SLOWEST_HZ, FASTEST_HZ = 20.0, 0.5, 200.0
# Who steers and who drives in each mode of the car.
DRIVERS = {"user": ("user", "user"), "local_angle": ("pilot", "user"), "local": ("pilot", "pilot")}


class DonkeyTub(LongRecordings):
    """One tub; its end is the test split, so that no test clip is seen in training.

    Set latency_frames: the picture moves some records after its command, and the first records of a
    stretch, whose commands are unknown, are left out. 4 fits upstream's sample tub: correlation of
    angle and horizontal image motion -0.935, against -0.832 without (turning right moves the
    picture left).

    >>> DonkeyTub("tub", latency_frames=4, test_share=0.25).span("test", 1000)
    (750, 1000)

    Args:
        root: Folder of the tub, which holds manifest.json.
        rate_hz: Rate of the records; without it the median of their times, or 20, the car's own
            default, where a tub has none or they are not a camera's.
        max_gap_s: Seconds between two records beyond which a stretch ends. It also ends where
            records were deleted, and where another session begins.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        rate_hz: float | None = None,
        max_gap_s: float = 0.5,
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        self.rate_hz, self.max_gap_s = rate_hz, max_gap_s

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        rate_hz = self.rate_hz or self._own_rate or DEFAULT_HZ
        return ActionSpec(("angle", "throttle"), ("full scale",) * 2, "command", "command", rate_hz)

    @cached_property
    def _own_rate(self) -> float | None:
        """Hz by the records' times; None where there are none, or they are not a camera's."""
        if not self.folder.is_dir():
            return None
        rate = _measured_rate(read_records(self.folder), self.max_gap_s)
        if rate is not None and not SLOWEST_HZ <= rate <= FASTEST_HZ:
            log.warning(
                "%s: its times say %g Hz, which is no camera's: %g Hz is taken; set rate_hz",
                self.folder,
                rate,
                self.rate_hz or DEFAULT_HZ,
            )
            return None
        return rate

    def episodes(self, split: str) -> list[Episode]:
        """As recorded; the first `latency_frames` records of each are there for their commands
        only, and may be the last ones of the split before."""
        records = read_records(self.folder)
        first, last = self.span(split, len(records))
        episodes, start = [], 0
        for stretch in unbroken(records, self.max_gap_s):
            begin = max(first - start, self.latency_frames)
            end = min(last - start, len(stretch))
            if end - begin > 1:
                episodes.append(self._episode(stretch, begin, end))
            start += len(stretch)
        return episodes

    def _episode(self, stretch: list[Record], begin: int, end: int) -> Episode:
        """Records `begin` to `end` of a stretch, and those before that hold their commands; the
        name is of the record that comes first once commands are delayed."""
        name = f"tub_{stretch[begin]['_index']:05d}"
        wide = stretch[begin - self.latency_frames : end]
        actions = np.array([command(record) for record in wide[:-1]], np.float32)
        pictures = np.array([record[PICTURE] for record in wide])
        read = partial(read_frames, self.folder / "images", pictures)
        stamps = [record.get("_timestamp_ms") for record in wide]
        known = self._own_rate and all(isinstance(stamp, int | float) for stamp in stamps)
        times = np.array(stamps if known else [], np.float64) / 1000
        return Episode(name, len(wide), read, actions, times=times)


def read_frames(folder: Path, pictures: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)` of an episode, whose picture names are `pictures (N,)`."""
    return read_images([inside(folder, str(pictures[k]), "the tub's catalog") for k in indices])


def read_records(root: Path) -> list[Record]:
    """All records of a tub that are not deleted, in order."""
    if not root.is_dir():
        raise missing("DonkeyTub", root, f"no folder {root}; pass --data.root PATH.")
    manifest = root / "manifest.json"
    if not manifest.is_file():
        looked = f"looked for {manifest} and found none."
        if next(root.glob("record_*.json"), None) is None:
            raise missing("DonkeyTub", root, looked)
        raise FileNotFoundError(
            f"DonkeyTub: {looked} It holds a tub of version 1: convert it with Donkey's "
            f"convert_to_tub_v2."
        )
    *_, catalogs = [{}, *_lines(manifest)]
    paths = catalogs.get("paths") if isinstance(catalogs, dict) else None
    deleted = catalogs.get("deleted_indexes") or [] if isinstance(catalogs, dict) else []
    if not isinstance(paths, list) or not isinstance(deleted, list):
        raise ValueError(
            f"{manifest}: the last line does not name the catalogs under 'paths', a list, and the "
            f"deleted records under 'deleted_indexes', another."
        )
    records = [record for name in paths for record in _lines(inside(root, name, str(manifest)))]
    for record in records:
        _check(manifest, record)
    kept = [record for record in records if record["_index"] not in set(deleted)]
    if not kept:
        found = counted(len(records), "record")
        raise ValueError(f"{manifest}: {found}, {len(deleted)} deleted, none left.")
    return kept


def _check(manifest: Path, record: Any) -> None:
    """Refuse a record without a number and a picture, or whose time is none."""
    sound = (
        isinstance(record, dict)
        and isinstance(record.get("_index"), int)
        and isinstance(record.get(PICTURE), str)
        and isinstance(record.get("_timestamp_ms", 0), int | float)
        and abs(record.get("_timestamp_ms", 0)) < LARGEST_MS
        and isinstance(record.get("user/mode", ""), str)
    )
    if not sound:
        raise ValueError(
            f"{manifest.parent}: expected records with a number _index, a name {PICTURE}, and a "
            f"number _timestamp_ms, got {str(record)[:100]}; repair the catalog."
        )


def unbroken(records: list[Record], max_gap_s: float) -> list[list[Record]]:
    """Cut records where some are missing between, time jumps, or another session begins."""
    stretches = [[records[0]]]
    for before, record in pairwise(records):
        seconds = (record.get("_timestamp_ms", 0) - before.get("_timestamp_ms", 0)) / 1000
        if (
            record["_index"] == before["_index"] + 1
            and 0 <= seconds <= max_gap_s
            and record.get("_session_id") == before.get("_session_id")
        ):
            stretches[-1].append(record)
        else:
            stretches.append([record])
    return stretches


def _measured_rate(records: list[Record], max_gap_s: float) -> float | None:
    """Hz, from the times of records that follow each other."""
    seconds = [
        (after["_timestamp_ms"] - before["_timestamp_ms"]) / 1000
        for stretch in unbroken(records, max_gap_s)
        for before, after in pairwise(stretch)
        if "_timestamp_ms" in before and "_timestamp_ms" in after
    ]
    middle = float(np.median(seconds)) if seconds else 0.0
    return round(1 / middle, 3) if middle > 0 else None


def command(record: Record) -> tuple[float, float]:
    """The command of a record: angle and throttle in [-1, 1]."""
    mode = record.get("user/mode", "user")
    if mode not in DRIVERS:
        known = ", ".join(DRIVERS)
        raise ValueError(f"record {record['_index']}: unknown user/mode {mode!r}, known: {known}.")
    steers, drives = DRIVERS[mode]
    turn = f"{steers}/steering"  # as some cars' parts call the angle
    keys = (turn if turn in record else f"{steers}/angle", f"{drives}/throttle")
    for key in keys:
        value = record.get(key)
        if not isinstance(value, int | float) or not abs(value) <= 1:
            raise ValueError(
                f"record {record['_index']}: expected {key} in [-1, 1], got {value!r}. "
                f"Repair the record, or add it to the manifest's deleted_indexes."
            )
    return record[keys[0]], record[keys[1]]


def _lines(file: Path) -> list[Any]:
    """A file of JSON lines."""
    if not file.is_file():
        raise FileNotFoundError(f"DonkeyTub: {file} is missing; the manifest names it.")
    lines: list[Any] = []
    for number, line in enumerate(text_of(file).splitlines(), start=1):
        try:
            if line.strip():
                lines.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"{file}: line {number} is not JSON ({error}); remove a line that was cut short."
            ) from error
    return lines
