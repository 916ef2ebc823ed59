"""A table of one recording, as a spreadsheet writes it.

A header, then rows. A unit may stand in brackets behind a column's name: `speed [m/s]`. Columns are
separated by commas, semicolons or tabs; between semicolons a number may have a decimal comma, as in
spreadsheets of many countries.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from egowm.checks import counted
from egowm.data.text import bad, text_of

BYTES = 1 << 28  # of a table: beyond it a mistake, or an attack
_COMMAS = "decimal commas are read where semicolons divide the columns"
_NO_NUMBERS = ("nan", "inf", "infinity", "na", "n/a", "null", "none")  # where one is missing
_COMMA = re.compile(r"\s*[-+]?\d*,\d*\s*")  # perhaps a decimal one
_SEP = re.compile(r'"?sep=([,;\t])"?[,;\t ]*', re.IGNORECASE)
_HEAD = re.compile(r"\s*(?P<name>[^\[\]()]+?)\s*(?:[\[(](?P<unit>[^\[\]()]*)[\])])?\s*")


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
    heads = [_head(file, k, cell) for k, cell in enumerate(head)]
    header = [name for name, _ in heads]
    if len(set(header)) != len(header):
        raise bad(file, f"the header names a column twice: {', '.join(header)}")
    while rows and not any(map(str.strip, rows[-1])):
        rows.pop()  # empty ones that a spreadsheet adds at the end
    for k, line in enumerate(rows):
        if len(line) != len(header):
            hint = f" ({_COMMAS})" if separator == "," and len(line) > len(header) else ""
            cells = counted(len(line), "cell")
            raise bad(file, f"row {k}: {cells} under a header of {len(header)}{hint}")
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
    first, _, others = (text := text_of(file)).partition("\n")
    if told := _SEP.fullmatch(first):  # Excel's word for what divides the columns
        separator, text = told[1], others
    else:
        separator = max(",;\t", key=first.count)
    try:
        lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
    except csv.Error as error:
        raise bad(file, f"not a table ({error})") from error
    if len(lines) < 2:
        raise bad(file, "expected a header and rows of numbers")
    return separator, lines


def _head(file: Path, number: int, cell: str) -> tuple[str, str]:
    """A column's name and its unit. number: of the column."""
    if not cell.strip():
        raise bad(
            file,
            f"column {number} has no name in the header (pandas writes its index so: "
            f"`to_csv(..., index=False)` does not)",
        )
    match = _HEAD.fullmatch(cell)
    if not match:
        raise bad(file, f"expected a header of names, a unit in brackets; got {cell[:60]!r}")
    return match["name"], (match["unit"] or "").strip()


def lacking(name: str, header: Sequence[str]) -> str:
    """That a column is not there, and the one that may be meant."""
    near = get_close_matches(name.lower(), [column.lower() for column in header], 1)
    meant = next((column for column in header if [column.lower()] == near), "")
    return f"no column {name!r}" + (f", perhaps {meant!r} is meant" if meant else "")


def numberless(table: Table, names: Iterable[str]) -> dict[str, str]:
    """The columns that hold no number in any row, and the first cell with something in each."""
    header, found = list(table.units), {}
    for name in names:
        cells = [row[header.index(name)].strip() for row in table.rows]
        if not any(map(_is_meant, cells)):
            found[name] = next(filter(None, cells), "")
    return found


def rising(table: Table) -> str:
    """Which columns may be times, as they rise from row to row, one sentence."""
    found = []
    for name in table.units:
        with suppress(ValueError):
            steps = np.diff(table.numbers([name])[name])
            if len(steps) and (steps > 0).all():
                found.append(name)
    none = f"No column of it rises from row to row; the header has {', '.join(table.units)}."
    return f"Columns that rise from row to row: {', '.join(found)}." if found else none


def _number(file: Path, row: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if np.isfinite(value):
        return value
    if re.fullmatch(r"[^:]*\d:\d\d.*", cell):
        raise ValueError(
            f"{file}: row {row}, column {column}: {cell[:40]!r} is a time of day; write seconds "
            f"from any start, or milliseconds with the unit [ms] behind the column's name."
        )
    what = f"row {row}, column {column}: expected a finite number, got {cell[:40]!r}{_hint(cell)}"
    raise bad(file, what)


def _hint(cell: str) -> str:
    """What else to do about a cell that is no number."""
    if _COMMA.fullmatch(cell):
        return f" ({_COMMAS})"
    is_text = any(map(str.isalpha, cell)) and not _is_missing(cell)
    return " (a column of text may stay: `actions` names the columns to take)" if is_text else ""


def _is_missing(cell: str) -> bool:
    """Whether a cell says that its number is missing."""
    return cell.strip().lower().lstrip("+-") in _NO_NUMBERS


def _is_meant(cell: str) -> bool:
    """Whether a cell is a number, one with a decimal comma, or says that one is missing."""
    try:
        float(cell)
    except ValueError:
        return _is_missing(cell) or bool(_COMMA.fullmatch(cell))
    return True
