"""A video and a table for each episode: the format of whoever has a new robot.

`<root>/<episode>.csv` with a header, and beside it `<episode>.mp4` (or .webm, .mkv, .avi, .mov) or
a folder `<episode>/` of pictures. Row k belongs to frame k. A unit may stand in brackets behind a
column's name: `speed [m/s]`. Columns are separated by commas, semicolons or tabs.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.data.episode import Episode
from egowm.data.label_index import Index, Kept, read_indexed
from egowm.data.module import ClipData, Window
from egowm.data.recon import se2_steps
from egowm.data.splits import Splits
from egowm.video import count_frames, read_frames

VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov")
BYTES = 1 << 28  # of a table: beyond it a mistake, or an attack
_HEAD = re.compile(r"\s*(?P<name>[^\[\]()]+?)\s*(?:[\[(](?P<unit>[^\[\]()]*)[\])])?\s*")


class VideoCSV(ClipData):
    """Videos with tables of numbers beside them.

    actions: columns; without them all but `time` and the state's. states: columns, or none. kind:
    what the action columns hold: "command" (what the robot was told at a frame; takes it to the
    next), "difference" (of states, from a frame to the next) or "pose" (x, y, yaw in the world,
    metres and radians; actions are then steps in the body frame). time: the column of seconds, used
    where it exists.
    rate_hz: of the frames; without it the median of the first table's times. train_names,
    test_names, val_share, test_share: as NWM's. skip_corrupt: leave out episodes that cannot be
    read, with a warning. latency_frames: see ClipData. normaliser: how every dimension is brought
    to about [-1, 1].

    Raises FileNotFoundError for no tables, ValueError naming file, row and column of what is wrong.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        actions: list[str] | None = None,
        states: list[str] | None = None,
        kind: Literal["command", "difference", "pose"] = "command",
        time: str = "time",
        rate_hz: float | None = None,
        train_names: str | None = None,
        test_names: str | None = None,
        val_share: float = 0.02,
        test_share: float = 0.2,
        skip_corrupt: bool = False,
        latency_frames: int = 0,
        normaliser: NormaliserName = "min-max",
    ) -> None:
        super().__init__(root, window, batch_size, num_workers, seed, latency_frames)
        if kind == "pose" and (actions is None or len(actions) != 3):
            raise ValueError(
                f"VideoCSV: kind pose takes three action columns x, y, yaw; got {actions}."
            )
        self.actions, self.states, self.kind, self.time = actions, states or [], kind, time
        self.rate_hz, self.normaliser, self.skip_corrupt = rate_hz, normaliser, skip_corrupt
        self.splits = Splits("VideoCSV", train_names, test_names, val_share, test_share)

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        file = next(iter(self._tables().values()))
        units = read_units(file)
        rate = self.rate_hz or self._measured_rate(file)
        if self.kind == "pose":
            spec = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", rate)
        else:
            names = tuple(self._columns(file, list(units)))
            frame = "command" if self.kind == "command" else "state"
            spec = ActionSpec(names, tuple(units[n] for n in names), frame, self.kind, rate)
        return replace(spec, normalisers=(self.normaliser,) * spec.width)

    @cached_property
    def state_meaning(self) -> ActionSpec | None:  # type: ignore[override]
        if not self.states:
            return None
        units = read_units(next(iter(self._tables().values())))
        return ActionSpec(
            tuple(self.states),
            tuple(units.get(name, "") for name in self.states),
            frame="state",
            kind="command",
            rate_hz=self.meaning.rate_hz,
            normalisers=(self.normaliser,) * len(self.states),
        )

    def episodes(self, split: str) -> list[Episode]:
        tables = self._tables()
        root = str(Path(self.root).expanduser().resolve())
        return read_indexed(
            f"VideoCSV: reading {split} tables",
            self.splits.of(split, tables, Path(self.root)),
            lambda name: self._episode(name, tables[name]),
            self.skip_corrupt,
            Index(
                ["VideoCSV", root, self.actions, self.states, self.kind, self.time],
                lambda name: (tables[name], _video(tables[name])),
                lambda name, kept: _made(name, _video(tables[name]), kept),
            ),
        )

    def _tables(self) -> dict[str, Path]:
        root = Path(self.root).expanduser()
        files = {file.stem: file for file in sorted(root.glob("*.csv")) if file.name[0] != "."}
        if not files:
            raise FileNotFoundError(
                f"VideoCSV: looked for {root}/*.csv and found none; pass --data.root PATH, the "
                f"folder with a table and a video for each episode."
            )
        return files

    def _episode(self, name: str, file: Path) -> Episode:
        video = _video(file)
        table = read_table(file)
        columns = self._columns(file, list(table))
        values = np.stack([table[column] for column in columns], 1)
        states = np.zeros((0, 0), np.float32)
        if self.states:
            states = np.stack([_column(file, table, c) for c in self.states], 1).astype(np.float32)
        # Counting a video's frames means to open it; `egowm data check` does so.
        frames = count_frames(video) if video.is_dir() else len(values)
        if frames != len(values):
            raise _bad(file, f"{len(values)} rows for {frames} pictures in {video.name}")
        if len(values) < 2:
            raise _bad(file, f"expected at least 2 rows, got {len(values)}")
        steps = values[:-1].astype(np.float32)
        if self.kind == "pose":
            steps = se2_steps(values[:, :2], values[:, 2])
        times = table.get(self.time, np.zeros(0, np.float64))
        return _made(name, video, Kept(steps, states, times))

    def _columns(self, file: Path, header: list[str]) -> list[str]:
        """The action columns, which must be in the header."""
        wanted = self.actions
        if wanted is None:
            wanted = [name for name in header if name != self.time and name not in self.states]
        missing = [name for name in [*wanted, *self.states] if name not in header]
        if missing or not wanted:
            what = f"no column {missing[0]!r}" if missing else "no action columns"
            raise _bad(file, f"{what}; the header has {', '.join(header)}")
        return wanted

    def _measured_rate(self, file: Path) -> float:
        times = read_table(file).get(self.time)
        if times is None or len(times) < 2 or not np.median(np.diff(times)) > 0:
            raise ValueError(
                f"VideoCSV: {file} has no rising column {self.time!r} of seconds, so the rate is "
                f"unknown: set rate_hz."
            )
        return round(1 / float(np.median(np.diff(times))), 3)


def _made(name: str, video: Path, labels: Kept) -> Episode:
    actions, states, times = labels
    own = None if video.is_dir() else video
    read = partial(read_video, video)
    return Episode(name, len(actions) + 1, read, actions, states, "", times, own)


def read_video(video: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)` of a video file or a folder of pictures."""
    return read_frames(video, indices)


def read_table(file: Path) -> dict[str, np.ndarray]:
    """Columns of numbers `(N,)` by name without unit; ValueError names row and column.

    Cells that are empty or no finite number are refused, so that a gap is not read as a zero.
    """
    lines = _lines(file)
    header = [_name(file, cell) for cell in lines[0]]
    if len(set(header)) != len(header):
        raise _bad(file, f"the header names a column twice: {', '.join(header)}")
    rows = np.empty((len(lines) - 1, len(header)))
    for k, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise _bad(file, f"row {k}: {len(line)} cells under a header of {len(header)}")
        for column, cell in enumerate(line):
            rows[k, column] = _number(file, k, header[column], cell)
    return {name: rows[:, column] for column, name in enumerate(header)}


def read_units(file: Path) -> dict[str, str]:
    """Units by column name, "" where the header gives none."""
    heads = {_name(file, cell): _HEAD.fullmatch(cell) for cell in _lines(file)[0]}
    return {name: (match["unit"] or "").strip() if match else "" for name, match in heads.items()}


def _lines(file: Path) -> list[list[str]]:
    if file.stat().st_size > BYTES:
        raise _bad(file, f"{file.stat().st_size} bytes are too many for a table of one episode")
    try:
        text = file.read_text(encoding="utf-8-sig")  # Excel writes a byte order mark
    except UnicodeDecodeError as error:
        raise _bad(file, f"not a text file ({error})") from error
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
    if len(lines) < 2:
        raise _bad(file, "expected a header and rows of numbers")
    return lines


def _name(file: Path, cell: str) -> str:
    match = _HEAD.fullmatch(cell)
    if not match:
        raise _bad(file, f"expected a header of names, a unit in brackets; got {cell[:60]!r}")
    return match["name"]


def _number(file: Path, row: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise _bad(file, f"row {row}, column {column}: expected a finite number, got {cell[:40]!r}")
    return value


def _column(file: Path, table: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in table:
        raise _bad(file, f"no column {name!r}; the header has {', '.join(table)}")
    return table[name]


def _video(file: Path) -> Path:
    """The video or the folder of pictures beside a table."""
    folder = file.with_suffix("")
    found = [path for suffix in VIDEOS if (path := file.with_suffix(suffix)).is_file()]
    found += [folder] if folder.is_dir() else []
    if len(found) != 1:
        raise _bad(
            file,
            f"expected one video {file.stem}.mp4 or one folder {file.stem}/ of pictures beside it, "
            f"got {len(found)}",
        )
    return found[0]


def _bad(file: Path, what: str) -> ValueError:
    return ValueError(f"{file}: {what}. Repair it, or leave it out with skip_corrupt: true.")
