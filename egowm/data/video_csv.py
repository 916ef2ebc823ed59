"""A video and a table for each episode: the format of whoever has a new robot.

`<root>/<episode>.csv` with a header, and beside it `<episode>.mp4` (or .mov, .m4v, .webm, .mkv,
.avi) or a folder `<episode>/` of pictures. Row k belongs to frame k. Times and poses are converted
from the units of the header, other units are names.
"""

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.checks import counted
from egowm.data.csv_table import read_table
from egowm.data.episode import Episode
from egowm.data.label_index import Kept
from egowm.data.module import Window
from egowm.data.normalisers import WHEELED
from egowm.data.recon import se2_steps
from egowm.data.recordings import Recordings, matching
from egowm.data.table_columns import Columns, TableKind, unit_scale
from egowm.data.text import bad, spreadsheets
from egowm.data.times import time_column
from egowm.data.units import METRES, RADIANS, same_unit
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
        kind: TableKind | None = None,
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

    @property
    def columns(self) -> Columns:
        """The columns that were asked for."""
        return Columns(self.actions, self.states, self.kind, self.time, self.rate_hz)

    @cached_property
    def meaning(self) -> ActionSpec:  # type: ignore[override]
        file, units = self._first
        rate = self.columns.rate(file)
        if self.kind == "pose":
            spec = replace(WHEELED, rate_hz=rate)
        else:
            names = tuple(self.columns.of(read_table(file)))
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
        return self.columns.first(list(self.recordings().values()))

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
        columns = self.columns.of(table)
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
            scale = [unit_scale(place, name, units[name], METRES) for name in columns[:2]]
            turn = unit_scale(place, columns[2], units[columns[2]], RADIANS)
            steps = se2_steps(values[:, :2] * scale, values[:, 2] * turn)
        return self.made(place, Kept(steps, states, self.columns.times(table)))

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
            f"beside it, got {len(videos) or _none(file)}: each video has a table of its own, "
            f"under its name. A table without a video is left out with skip_corrupt: true."
        )
    return videos[0]


def _none(file: Path) -> str:
    """That a table has no video, and the one that may be meant."""
    names = {path.stem.lower(): path.name for path in sorted(file.parent.glob("*"))
             if path.suffix.lower() in VIDEOS}  # fmt: skip
    near = get_close_matches(file.stem.lower(), names, 1)
    return f"none, perhaps {names[near[0]]} is meant" if near else "none"
