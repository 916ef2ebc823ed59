"""Tables of the humanoid: its arms, where hands are, what each dimension is worth."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import (
    Columns,
    caveat,
    doubt,
    lines_of,
    measured_at,
    ranged,
    source,
    table,
)
from egowm.scs.bootstrap import interval

FRAMES = ("2", "4", "8", "16")
FIRST = "from the prior"


def scores(results: Path) -> str:
    """One line an arm or reference: SCS, PSNR, other actions, the gain."""
    record = read(results / "humanoid.json")
    rows: list[Record] = record["rows"] if record else []
    columns: Columns = {
        "behaviour": lambda r: r["behaviour"],
        "frames": lambda r: r["change"],
        "SCS [95%]": lambda r: ranged(r["scs"], r["ci95"]),
        **{f"to frame {k}": partial(_at, k) for k in FRAMES[:3]},
        "PSNR, dB": lambda r: f"{r['psnr']:.1f}",
        "another clip's actions": partial(_or_none, "shuffled", ".1f"),
        "body held still": partial(_or_none, "zero", ".1f"),
        "action gain": partial(_or_none, "gain", ".2f"),
        "less from the prior [95%]": partial(_less, rows),
    }
    note = f"\n\n{source(record)}.{measured_at(rows, _arm)}" if record else ""
    return table(columns, lines_of(columns, rows)) + note


def _arm(row: Record) -> str:
    return f"{row['behaviour']}, {row['change'] if row['steps'] else 'references'}"


def following(results: Path) -> str:
    """Hands, moved things and the head up to each horizon."""
    record = read(results / "humanoid.json")
    rows: list[Record] = record["rows"] if record else []
    known = [row for row in rows if "following" in row]
    lines = [row | {"frame": k, "at": row["following"][k]} for row in known for k in FRAMES]
    columns: Columns = {
        "behaviour": lambda r: r["behaviour"],
        "frames": lambda r: r["change"],
        "to frame": lambda r: r["frame"],
        "hands off, cm [95%]": _cell("hands", ".1f"),
        "hands lost, %": _cell("hands_lost", ".0f"),
        "moved things off, cm [95%]": _cell("carried", ".1f"),
        "head's motion off, cm [95%]": _cell("moved", ".1f", 100),
        "head's turn off, ° [95%]": _cell("turned", ".2f"),
        "head's place off, cm [95%]": _cell("drift", ".0f", 100),
        "frames not aligned, %": _cell("lost", ".0f"),
    }
    return table(columns, lines_of(columns, lines)) + (_caveat(record) if record else "")


def dimensions(results: Path) -> str:
    """The action gain of each of the 25 dimensions, a column for each arm that was measured."""
    record = read(results / "humanoid.json")
    rows = [r for r in record["rows"] if "dimensions" in r] if record else []
    columns: dict[str, Callable[[Record], str]] = {"dimension": lambda r: r["dimension"]}
    for behaviour in dict.fromkeys(r["behaviour"] for r in rows):
        arms = [r for r in rows if r["behaviour"] == behaviour]
        columns[f"{behaviour}: visible"] = partial(_visible, arms[0])
        for arm in arms:
            columns[f"{behaviour}, {arm['change']}"] = partial(_gain, arm)
    names = [d["dimension"] for d in rows[0]["dimensions"]] if rows else []
    lines = lines_of(columns, [{"dimension": name} for name in names])
    return table(columns, lines) + (_caveat(record) if record else "")


def _caveat(record: Record) -> str:
    """The marks of the record, or of some of its rows."""
    marks = {mark for row in record["rows"] for mark in doubt(row).split(", ") if mark}
    more = sorted(marks - {*doubt(record).split(", ")})
    rows = f"\n\nSome rows are **{', '.join(more)}**: the first table says which." if more else ""
    return rows + caveat(record)


def _at(frame: str, row: Record) -> str:
    return f"{row['scs_at'][frame]:.1f}"


def _or_none(key: str, form: str, row: Record) -> str:
    return f"{row[key]:{form}}" if row.get(key) is not None else ""


def _less(rows: list[Record], row: Record) -> str:
    """An arm less the one from the prior, clip by clip."""
    first = [r for r in rows if r["behaviour"] == row["behaviour"] and r["change"] == FIRST]
    if row["steps"] is None or row["change"] == FIRST or not first:
        return ""
    difference = np.array(row["clip_scs"]) - np.array(first[0]["clip_scs"])
    low, high = interval(difference) or (np.nan, np.nan)
    return f"{difference.mean():+.1f} [{low:+.1f} to {high:+.1f}]"


def _cell(key: str, form: str, scale: float = 1) -> Callable[[Record], str]:
    def cell(row: Record) -> str:
        found = row["at"].get(key, {"mean": None})
        if found["mean"] is None:
            return ""
        mean = found["mean"] * scale
        if key.endswith("lost"):
            return f"{mean:{form}}"
        shown = ranged(mean, [end * scale for end in found["ci95"]], form)
        return f"{shown} ({found['clips']})" if key in ("hands", "carried") else shown

    return cell


def _named(arm: Record, row: Record) -> Record:
    found: Record = next(d for d in arm["dimensions"] if d["dimension"] == row["dimension"])
    return found


def _visible(arm: Record, row: Record) -> str:
    return f"{_named(arm, row)['visible']:.1f}"


def _gain(arm: Record, row: Record) -> str:
    found = _named(arm, row)
    return "" if found["gain"] is None else ranged(found["gain"], found["ci95"], ".2f")
