"""Which columns of a table beside a video are times, actions and states; needs no torch."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from egowm.data.csv_table import Table, lacking, numberless, read_table, rising
from egowm.data.pose_columns import asked, pose_columns
from egowm.data.times import alike, rate_of, time_column
from egowm.data.units import SECONDS, scale_of

TableKind = Literal["command", "difference", "pose"]


@dataclass(frozen=True)
class Columns:
    """The columns that were asked for, as `VideoCSV` explains them."""

    actions: list[str] | None = None
    states: list[str] = field(default_factory=list)
    kind: TableKind | None = None
    time: str = "time"
    rate_hz: float | None = None

    def of(self, table: Table) -> list[str]:
        """The action columns of a table; ValueError where it lacks one, or a state's."""
        header, wanted = list(table.units), self.actions
        if wanted is None:
            wanted = self._others(table)
        if self.kind is None and (found := pose_columns(wanted)):
            raise asked(found)
        missing = [name for name in [*wanted, *self.states] if name not in header]
        if missing or not wanted:
            none = "no columns x, y, yaw" if self.kind == "pose" else "no action columns"
            what = lacking(missing[0], header) if missing else none
            raise ValueError(
                f"{table.file}: {what}; the header has {', '.join(header)}: name its columns in "
                f"`{'states' if missing and missing[0] in self.states else 'actions'}`, without "
                f"their units. A table that lacks what the others have is left out with "
                f"skip_corrupt: true."
            )
        return wanted

    def _others(self, table: Table) -> list[str]:
        """All columns but the times' and the states'; of a pose x, y and yaw."""
        others = {time_column(table.units, self.time), *self.states}
        wanted = [name for name in table.units if name not in others]
        if self.kind == "pose":
            return pose_columns(wanted)
        if words := numberless(table, wanted):
            name, cell = next(iter(words.items()))
            numbers = ", ".join(name for name in wanted if name not in words)
            holds = f"holds no numbers ({cell[:40]!r})" if cell else "is empty"
            raise ValueError(
                f"{table.file}: the column {name} {holds}, and nothing says which columns are "
                f"actions; numbers stand in {numbers or 'no other'}. Name those that are actions: "
                f"`actions: [NAME, NAME]` under data in a recipe, or --actions NAME NAME where a "
                f"folder is given."
            )
        return wanted

    def first(self, files: Sequence[Path]) -> tuple[Path, dict[str, str]]:
        """The first table that can be read, and its units, which all others have."""
        for file in files:
            with suppress(ValueError):  # named when the recordings are read
                table = read_table(file)
                table.numbers(self.of(table))
                self.times(table)
                return file, table.units
        return files[0], read_table(files[0]).units

    def check(self, files: Sequence[Path]) -> None:
        """ValueError where the columns are in no table, or no times are: the recordings need not
        be read to say so."""
        file, _ = self.first(files)
        self.of(read_table(file))
        self.rate(file)

    def times(self, table: Table) -> np.ndarray:
        """Seconds (N,), from whatever unit the header gives; (0,) without a column of times."""
        time = time_column(table.units, self.time)
        if time is None:
            return np.zeros(0, np.float64)
        seconds = unit_scale(table.file, time, table.units[time], SECONDS)
        return table.numbers([time])[time] * seconds

    def rate(self, file: Path) -> float:
        """Frames a second: as told, or by the times of a table."""
        if self.rate_hz:
            return self.rate_hz
        table = read_table(file)
        if (rate := rate_of(self.times(table))) is not None:
            return rate
        time, same = time_column(table.units, self.time), alike(table.units, self.time)
        falls = "has one row" if len(table.rows) == 1 else "does not rise"
        what = f"{time!r} {falls}" if time else f"no column {self.time!r}"
        if len(same) > 1:
            what = f"several columns may be the times, {' and '.join(map(repr, same))}"
        raise ValueError(
            f"VideoCSV: {file}: {what}, so the rate of the frames is unknown. Write rate_hz: HZ or "
            f"time: NAME under data in a recipe (--time NAME where a folder is given), NAME as the "
            f"header has it without its unit. {rising(table)}"
        )


def unit_scale(file: Path, column: str, unit: str, known: dict[str, float]) -> float:
    """What a column is multiplied by; a header without a unit means the first known one."""
    scale = scale_of(unit, known)
    if scale is None:
        raise ValueError(
            f"{file}: column {column}: expected a unit of {', '.join(known)}, got {unit!r}: write "
            f"one of these in the header, and the column in it."
        )
    return scale
