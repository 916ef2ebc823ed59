"""Tables of action following."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, caveat, lines_of, source, table

NAMES = {
    "rooms": "the shipped model",
    "from-the-prior-long": "from the prior (long)",
    "from-scratch-long": "from scratch (long)",
}
HORIZON = 16


def following(results: Path) -> str:
    """Alignment, then flow: the errors of all steps and the drift at the end."""
    record = read(results / "action-following.json")
    parts = []
    for method, says in (
        ("alignment", "By alignment to renderings of the room:"),
        ("flow", "By optical flow over the floor, without looking into the simulator:"),
    ):
        found = [r for r in record["rows"] if r["method"] == method] if record else []
        parts += [says, table(COLUMNS, lines_of(COLUMNS, found))]
    if record:
        parts.append(f"{record['settings']['clips']} clips. {source(record)}.")
    return "\n\n".join(parts)


def drift(results: Path) -> str:
    """Metres and degrees off after 2, 4, 8 and 16 frames, by alignment."""
    record = read(results / "action-following.json")
    found = [r for r in record["rows"] if r["method"] == "alignment"] if record else []
    at = {
        f"after {k}": lambda r, k=k: _off(_at(r, k)["drift"])  # type: ignore[misc]
        for k in (2, 4, 8, HORIZON)
    }
    columns: Columns = {"frames": _name, **at}
    return table(columns, lines_of(columns, found)) + (caveat(record) if record else "")


def recordings(results: Path) -> str:
    """The errors of steps in recordings with measured poses, and the size of the steps."""
    record = read(results / "action-following-real.json")
    found = record["rows"] if record else []
    columns: Columns = {
        "recording": lambda r: r["name"],
        "steps told": lambda r: r["told"],
        "known": lambda r: r["method"],
        "aligned, %": lambda r: f"{100 * _last(r)['aligned']:.0f}",
        "off, m": lambda r: _largest(_last(r)["error"][: _moves(r)], ".3f"),
        "off, degrees": lambda r: _largest(_last(r)["error"][_moves(r) :], ".2f"),
        "of dx told": _ahead,
        "a step": _step,
    }
    note = f"\n\n{source(record)}." if record else ""
    return table(columns, lines_of(columns, found)) + note


def _moves(row: Record) -> int:
    """How many of a step's dimensions are metres: dx, dy, dyaw, or three and three."""
    return 2 if len(row["size_of_a_step"]) == 3 else 3


def _last(row: Record) -> Record:
    found: Record = row["horizons"][-1]
    return found


def _largest(errors: Sequence[float | None], form: str) -> str:
    """Of dimensions' median errors; what the method cannot see says so."""
    known = [error for error in errors if error is not None]
    return f"{max(known):{form}}" if known else "not seen"


def _ahead(row: Record) -> str:
    """The share of a wheeled robot's way that is seen."""
    return _largest(_last(row)["gain"][:1], ".2f") if _moves(row) == 2 else ""


def _step(row: Record) -> str:
    size, cut = row["size_of_a_step"], _moves(row)
    return f"{np.linalg.norm(size[:cut]):.3f} m, {np.degrees(np.linalg.norm(size[cut:])):.1f}°"


def _at(row: Record, horizon: int) -> Record:
    found: Record = next(h for h in row["horizons"] if h["horizon"] == horizon)
    return found


def _name(row: Record) -> str:
    name = str(NAMES.get(row["name"], row["name"]))
    own = row["told"] == "true" or "told" in row["name"]
    return name if own else f"{name}, under another clip's actions"


def _median(dimension: int, form: str) -> object:
    def cell(row: Record) -> str:
        last = _at(row, HORIZON)
        value, ends = last["error"][dimension], last["error_ci95"][dimension]
        return f"{_number(value, form)} [{_number(ends[0], form)} to {_number(ends[1], form)}]"

    return cell


def _number(value: float | None, form: str) -> str:
    if value is None:
        return "unknown"
    text = f"{value:{form}}"
    return text.removeprefix("-") if float(text) == 0 else text


def _off(drift: Sequence[float | None]) -> str:
    if None in drift:
        return "unknown"
    return f"{_number(drift[0], '.2f')} m, {_number(drift[1], '.1f')}°"


def _gain(row: Record) -> str:
    gain = _at(row, HORIZON)["gain"]
    return f"{_number(gain[0], '.2f')}, {_number(gain[2], '.2f')}"


COLUMNS: Columns = {
    "frames": _name,
    "aligned, %": lambda r: f"{100 * _at(r, HORIZON)['aligned']:.0f}",
    "dx, m [95%]": _median(0, ".3f"),  # type: ignore[dict-item]
    "dy, m [95%]": _median(1, ".3f"),  # type: ignore[dict-item]
    "dyaw, degrees [95%]": _median(2, ".2f"),  # type: ignore[dict-item]
    "of dx, dyaw told": _gain,
    "drift at 16": lambda r: _off(_at(r, HORIZON)["drift"]),
}
