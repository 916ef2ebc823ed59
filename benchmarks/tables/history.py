"""The table of pasts that a world model is shown."""

from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import source, table
from egowm.scs.bootstrap import interval

FIRST = "1 frame"
HEADS = {"loss": "loss", "psnr_1": "PSNR at +1", "psnr_2": "at +2", "psnr_4": "at +4",
         "psnr_8": "at +8", "scs": "SCS to +8"}  # fmt: skip


def history(results: Path) -> str:
    """One line a choice, each figure with its paired difference from the last frame alone."""
    record = read(results / "history.json")
    heads = ["context frames that are read", *HEADS.values()]
    if record is None:
        return table(heads, [])
    rows = record["rows"]
    first = {row["seed"]: row for row in rows if row["row"] == FIRST}
    lines = [[_named(row), *[_cell(row, first, key) for key in HEADS]] for row in rows]
    trained = next((row for row in rows if "steps" in row), None)
    budget = f"{trained['steps']:,} steps of 16 clips each. " if trained else ""
    return f"{table(heads, lines)}\n\n{budget}{source(record)}."


def _named(row: Record) -> str:
    return f"{row['row']}, seed {row['seed']}" if row.get("seed") else str(row["row"])


def _cell(row: Record, first: dict[int, Record], key: str) -> str:
    if key not in row:
        return ""
    places = 3 if key == "loss" else 1
    plain = f"{row[key]:.{places}f}"
    other = first.get(row.get("seed", -1))
    if other is None or other is row:
        return plain
    differences = np.array(row["each"][key]) - np.array(other["each"][key])
    found = interval(differences)
    low, high = found or (np.nan, np.nan)
    mean = np.nanmean(differences)
    return f"{plain} ({mean:+.{places}f}, {low:+.{places}f} to {high:+.{places}f})"
