"""A video and a table for each episode: the format of whoever has a new robot.

`<root>/<episode>.csv` with a header, and beside it `<episode>.mp4` (or .mov, .m4v, .webm, .mkv,
.avi) or a folder `<episode>/` of pictures. Row k belongs to frame k. Times and poses are converted
from the units of the header, other units are names.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.checks import counted
from egowm.data.csv_table import Table, lacking, read_table, rising
from egowm.data.episode import Episode
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.normalisers import WHEELED
from egowm.data.pose_columns import asked, pose_columns
from egowm.data.recon import se2_steps
from egowm.data.recordings import Recordings, bad, matching
from egowm.data.text import spreadsheets
from egowm.data.times import rate_of, time_column
from egowm.data.units import METRES, RADIANS, SECONDS, same_unit, scale_of
from egowm.video import count_frames, read_frames

VIDEOS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")  # in capitals, too


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
        time: The column of times, in capitals or not, used where it exists: seconds, or the unit of
            its header.
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
        try:
            return {path.stem: path for path in matching("VideoCSV", self.folder, "*.csv")}
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error} {spreadsheets(self.folder)}".strip()) from error

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
        time = time_column(units := table.units, self.time)
        times = [] if time is None else [time]
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
            others = {time_column(header, self.time), *self.states}
            wanted = [name for name in header if name not in others]
            if self.kind == "pose":
                wanted = pose_columns(wanted)
        if self.kind is None and (found := pose_columns(wanted)):
            raise asked(found)
        missing = [name for name in [*wanted, *self.states] if name not in header]
        if missing or not wanted:
            none = "no columns x, y, yaw" if self.kind == "pose" else "no action columns"
            what = lacking(missing[0], header) if missing else none
            raise ValueError(
                f"{file}: {what}; the header has {', '.join(header)}: name its columns in "
                f"`{'states' if missing and missing[0] in self.states else 'actions'}`, without "
                f"their units. A table that lacks what the others have is left out with "
                f"skip_corrupt: true."
            )
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

    def _times(self, table: Table) -> np.ndarray:
        """Seconds, from whatever unit the header gives."""
        time = time_column(table.units, self.time)
        if time is None:
            return np.zeros(0, np.float64)
        return table.numbers([time])[time] * _scale(table.file, time, table.units[time], SECONDS)

    def _measured_rate(self, file: Path) -> float:
        table = read_table(file)
        rate = rate_of(self._times(table))
        if rate is None:
            time = time_column(table.units, self.time)
            falls = "has one row" if len(table.rows) == 1 else "does not rise"
            what = f"no column {self.time!r}" if time is None else f"{time!r} {falls}"
            raise ValueError(
                f"VideoCSV: {file}: {what}, so the rate of the frames is unknown. Write rate_hz: "
                f"HZ or time: NAME under data in a recipe, NAME as the header has it without its "
                f"unit. {rising(table)}"
            )
        return rate


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
        raise ValueError(
            f"{file}: expected one video {file.stem}.mp4 or one folder {file.stem}/ of pictures "
            f"beside it, got {len(videos)}: each video has a table of its own, under its name. A "
            f"table without a video is left out with skip_corrupt: true."
        )
    return videos[0]
