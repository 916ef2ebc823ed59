"""A video and a table for each episode: the format of whoever has a new robot.

`<root>/<episode>.csv` with a header, and beside it `<episode>.mp4` (or .mov, .m4v, .webm, .mkv,
.avi) or a folder `<episode>/` of pictures. Row k belongs to frame k. A unit may stand in brackets
behind a column's name: `speed [m/s]`. Times and poses are converted from it, other units are names.
Columns are separated by commas, semicolons or tabs; between semicolons a number may have a decimal
comma, as in spreadsheets of many countries.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.normalisers import WHEELED
from egowm.data.pose_columns import asked, pose_columns
from egowm.data.recon import se2_steps
from egowm.data.recordings import Recordings, bad, matching
from egowm.data.text import text_of
from egowm.data.times import rate_of
from egowm.data.units import METRES, RADIANS, SECONDS, same_unit, scale_of
from egowm.video import count_frames, read_frames

VIDEOS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")  # in capitals, too
BYTES = 1 << 28  # of a table: beyond it a mistake, or an attack
_HEAD = re.compile(r"\s*(?P<name>[^\[\]()]+?)\s*(?:[\[(](?P<unit>[^\[\]()]*)[\])])?\s*")


class VideoCSV(Recordings[Path]):
    """Videos with tables of numbers beside them.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     _ = Path(root, "run_1.csv").write_text("time,turn [rad/s]\\n0,0.5\\n0.1,0.4\\n")
    ...     meaning = VideoCSV(root).meaning
    >>> meaning.names, meaning.units, meaning.rate_hz
    (('turn',), ('rad/s',), 10.0)

    Args:
        root: Folder of the tables, and of a video or a folder of pictures for each.
        actions: Columns of actions; without them all but `time` and the state's.
        states: Columns of states; without them clips have none.
        kind: What the action columns hold: "command" (what the robot was told at a frame, which
            takes it to the next), "difference" (of states, from a frame to the next) or "pose" (x,
            y in metres and yaw in radians in the world, or in their headers' units, yaw
            counter-clockwise from x to y; actions are steps in the body frame). Without it
            commands, but columns that look like a pose are asked about.
        time: The column of times, used where it exists: seconds, or the unit of its header.
        rate_hz: Rate of the frames; without it that of the first table's times.
        normaliser: How each dimension is scaled to about [-1, 1].

    Raises:
        FileNotFoundError: No table.
        ValueError: A table that is wrong; the message names file, row and column.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        actions: list[str] | None = None,
        states: list[str] | None = None,
        kind: Literal["command", "difference", "pose"] | None = None,
        time: str = "time",
        rate_hz: float | None = None,
        normaliser: NormaliserName = "min-max",
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        if kind == "pose" and actions is not None and len(actions) != 3:
            raise ValueError(
                f"VideoCSV: kind pose takes three action columns x, y, yaw; got {actions}."
            )
        self.actions, self.states, self.kind, self.time = actions, states or [], kind, time
        self.rate_hz, self.normaliser = rate_hz, normaliser

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        file, units = self._first
        rate = self.rate_hz or self._measured_rate(file)
        if self.kind == "pose":
            spec = replace(WHEELED, rate_hz=rate)
        else:
            names = tuple(self._columns(file, list(units)))
            kind = self.kind or "command"
            frame = "command" if kind == "command" else "state"
            spec = ActionSpec(names, tuple(units[n] for n in names), frame, kind, rate)
        return replace(spec, normalisers=(self.normaliser,) * spec.width)

    @cached_property
    def state_meaning(self) -> ActionSpec | None:  # type: ignore[override]
        if not self.states:
            return None
        columns = tuple(self._first[1].get(name, "") for name in self.states)
        rate = self.meaning.rate_hz
        spec = ActionSpec(tuple(self.states), columns, "state", "command", rate)
        return replace(spec, normalisers=(self.normaliser,) * spec.width)

    @cached_property
    def _first(self) -> tuple[Path, dict[str, str]]:
        """The first table that can be read, and its units, which all others have."""
        files = list(self.recordings().values())
        for file in files:
            with suppress(ValueError):  # named when the recordings are read
                table = read_table(file)
                table.numbers(self._columns(file, list(table.units)))
                return file, table.units
        return files[0], read_table(files[0]).units

    def recordings(self) -> dict[str, Path]:
        return {path.stem: path for path in matching("VideoCSV", self.folder, "*.csv")}

    def without_table(self) -> list[str]:
        """Names of the videos that have no table beside them, which are not read."""
        tables = {name.lower() for name in self.recordings()}
        videos = [path for path in self.folder.iterdir() if path.suffix.lower() in VIDEOS]
        return sorted(path.name for path in videos if path.stem.lower() not in tables)

    def files(self, place: Path) -> Sequence[Path]:
        return (place, _video(place))

    def made(self, place: Path, labels: Kept) -> Episode:
        actions, states, times = labels
        video = _video(place)
        own, read = None if video.is_dir() else video, partial(read_frames, video)
        return Episode(place.stem, len(actions) + 1, read, actions, states, "", times, own)

    def options(self) -> list[Any]:
        return [self.actions, self.states, self.kind, self.time, self._first[1]]

    def read(self, place: Path) -> Episode:
        video = _video(place)
        table = read_table(place)
        units, times = table.units, [self.time] if self.time in table.units else []
        columns = self._columns(place, list(units))
        self._check_units(place, units, self.states if self.kind == "pose" else columns)
        numbers = table.numbers([*times, *columns, *self.states])
        values = np.stack([numbers[column] for column in columns], 1)
        states = np.zeros((0, 0), np.float32)
        if self.states:
            states = np.stack([numbers[name] for name in self.states], 1).astype(np.float32)
        # Counting a video's frames means to open it; `egowm data check` does so.
        frames = count_frames(video) if video.is_dir() else len(values)
        if frames != len(values):
            found = f"{counted(len(values), 'row')} for {counted(frames, 'picture')}"
            raise bad(place, f"{found} in {video.name}")
        if len(values) < 2:
            raise bad(place, f"expected at least 2 rows, got {len(values)}")
        steps = values[:-1].astype(np.float32)
        if self.kind == "pose":
            scale = [_scale(place, name, units[name], METRES) for name in columns[:2]]
            turn = _scale(place, columns[2], units[columns[2]], RADIANS)
            steps = se2_steps(values[:, :2] * scale, values[:, 2] * turn)
        return self.made(place, Kept(steps, states, self._times(table)))

    def _columns(self, file: Path, header: list[str]) -> list[str]:
        """The action columns, which must be in the header."""
        wanted = self.actions
        if wanted is None:
            wanted = [name for name in header if name != self.time and name not in self.states]
            if self.kind == "pose":
                wanted = pose_columns(wanted)
        if self.kind is None and (found := pose_columns(wanted)):
            raise asked(found)
        missing = [name for name in [*wanted, *self.states] if name not in header]
        if missing or not wanted:
            none = "no columns x, y, yaw" if self.kind == "pose" else "no action columns"
            what = f"no column {missing[0]!r}" if missing else none
            has = f"the header has {', '.join(header)}"
            raise bad(file, f"{what}; {has}: name its columns in `actions`, without their units")
        return wanted

    def _check_units(self, file: Path, units: dict[str, str], columns: Sequence[str]) -> None:
        """Refuse columns, and states, whose unit is another than in the first table."""
        first, known = self._first
        for name in (*columns, *self.states):
            if not same_unit(unit := units.get(name, ""), told := known.get(name, unit)):
                raise bad(
                    file,
                    f"column {name}: its unit is {unit or 'not given'}, in {first.name} it is "
                    f"{told or 'not given'}; write all tables in one",
                )

    def _times(self, table: "Table") -> np.ndarray:
        """Seconds, from whatever unit the header gives."""
        if self.time not in table.units:
            return np.zeros(0, np.float64)
        scale = _scale(table.file, self.time, table.units[self.time], SECONDS)
        return table.numbers([self.time])[self.time] * scale

    def _measured_rate(self, file: Path) -> float:
        table = read_table(file)
        rate = rate_of(self._times(table))
        if rate is None:
            raise ValueError(
                f"VideoCSV: {file} has no rising column {self.time!r} of seconds, so the rate is "
                f"unknown: set rate_hz, or time: NAME; the header has {', '.join(table.units)}."
            )
        return rate


class Table(NamedTuple):
    """A table as text. units: by column name, "" where the header gives none."""

    file: Path
    units: dict[str, str]
    rows: list[list[str]]
    decimal_comma: bool

    def numbers(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Columns (N,) by name; ValueError names row and column.

        Other columns may hold text. Cells that are empty or no finite number are refused, so that a
        gap is not read as a zero.
        """
        header = list(self.units)
        cells = {name: [row[header.index(name)] for row in self.rows] for name in names}
        if self.decimal_comma:
            cells = _with_points(self.file, cells)
        return {
            name: np.array([_number(self.file, k, name, cell) for k, cell in enumerate(column)])
            for name, column in cells.items()
        }


def read_table(file: Path) -> Table:
    """A table of one episode; ValueError for a header or rows that make none."""
    separator, (head, *rows) = _lines(file)
    heads = [_head(file, cell) for cell in head]
    header = [name for name, _ in heads]
    if len(set(header)) != len(header):
        raise bad(file, f"the header names a column twice: {', '.join(header)}")
    while rows and not any(map(str.strip, rows[-1])):
        rows.pop()  # empty ones that a spreadsheet adds at the end
    for k, line in enumerate(rows):
        if len(line) != len(header):
            raise bad(
                file, f"row {k}: {counted(len(line), 'cell')} under a header of {len(header)}"
            )
    return Table(file, dict(heads), rows, separator == ";")


def _with_points(file: Path, cells: dict[str, list[str]]) -> dict[str, list[str]]:
    """Columns with points in place of decimal commas; beside those a point may divide thousands."""
    everything = [cell for column in cells.values() for cell in column]
    comma, point = (next((cell for cell in everything if sign in cell), "") for sign in ",.")
    if comma and point:
        raise bad(file, f"numbers with a comma ({comma[:40]!r}) and with a point ({point[:40]!r})")
    return {name: [cell.replace(",", ".") for cell in column] for name, column in cells.items()}


def _lines(file: Path) -> tuple[str, list[list[str]]]:
    """What separates the columns, and the cells of every line; the header and at least one more."""
    if file.stat().st_size > BYTES:
        raise bad(file, f"{file.stat().st_size} bytes are too many for a table of one episode")
    text = text_of(file)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
    except csv.Error as error:
        raise bad(file, f"not a table ({error})") from error
    if len(lines) < 2:
        raise bad(file, "expected a header and rows of numbers")
    return separator, lines


def _head(file: Path, cell: str) -> tuple[str, str]:
    """A column's name and its unit."""
    match = _HEAD.fullmatch(cell)
    if not match:
        raise bad(file, f"expected a header of names, a unit in brackets; got {cell[:60]!r}")
    return match["name"], (match["unit"] or "").strip()


def _number(file: Path, row: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise bad(file, f"row {row}, column {column}: expected a finite number, got {cell[:40]!r}")
    return value


def _scale(file: Path, column: str, unit: str, known: dict[str, float]) -> float:
    """What a column is multiplied by; a header without a unit means the first known one."""
    scale = scale_of(unit, known)
    if scale is None:
        raise ValueError(
            f"{file}: column {column}: expected a unit of {', '.join(known)}, got {unit!r}: write "
            f"one of these in the header, and the column in it."
        )
    return scale


def _video(file: Path) -> Path:
    """The video or the folder of pictures beside a table."""
    folder = file.with_suffix("")
    endings = [ending for suffix in VIDEOS for ending in (suffix, suffix.upper())]
    paths = [path for ending in endings if (path := file.with_suffix(ending)).is_file()]
    same = {path.stat().st_ino: path for path in reversed(paths)}  # a.MP4 may be another a.mp4
    videos = list(same.values())
    videos += [folder] if folder.is_dir() else []
    if len(videos) != 1:
        raise bad(
            file,
            f"expected one video {file.stem}.mp4 or one folder {file.stem}/ of pictures beside it, "
            f"got {len(videos)}",
        )
    return videos[0]
