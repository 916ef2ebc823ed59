"""The table of trials: what each choice of the long training is worth."""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.experiment.trials import AS_IS, BEFORE
from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, lines_of, measured_at, source, table
from egowm.scs.bootstrap import interval

FRAMES = ("2", "4", "8", "16")


def trials(results: Path) -> str:
    """One line a trial: its scores, and how far it is from the reference, clip by clip."""
    record = read(results / "trials.json")
    rows: list[Record] = record["rows"] if record else []
    found = [row for row in rows if row["trial"] == AS_IS]
    columns: Columns = {
        "one change": lambda r: r["trial"],
        "SCS": lambda r: f"{r['scs']:.1f}",
        "less the reference [95%]": lambda r: _less(r, found[0]) if found else "",
        **{f"to frame {frame}": partial(_to, frame) for frame in FRAMES},
        "action gain": lambda r: f"{r['gain']:.2f}",
        "standing still": lambda r: f"{r['still']:.1f}",
        "single steps": lambda r: f"{r['stepped']:.1f}",
    }
    lines = lines_of(columns, rows)
    made = measured_at(rows, lambda r: r["trial"])
    return table(columns, lines) + (f"\n\n{source(record)}.{made}" if record else "")


def _to(frame: str, row: Record) -> str:
    return f"{row['scs_at'][frame]:.1f}"


def _less(row: Record, reference: Record) -> str:
    if row["trial"] in (AS_IS, BEFORE):
        return ""
    difference = np.array(row["clip_scs"]) - np.array(reference["clip_scs"])
    low, high = interval(difference) or (np.nan, np.nan)
    return f"{difference.mean():+.1f} [{low:+.1f} to {high:+.1f}]"
