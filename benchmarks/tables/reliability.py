"""The tables of damaged inputs, and of writers that were stopped."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, doubt, lines_of, source, table

KINDS = ("traceback", "crash", "hang", "memory", "several lines", "half-written", "input changed")
COLUMNS: Columns = {
    "what reads": lambda r: str(r["target"]),
    "inputs": lambda r: str(r["inputs"]),
    "fine": lambda r: str(r["fine"]),
    "refused": lambda r: str(r["refused"]),
    "faults": lambda r: ", ".join(f"{r[kind]} {kind}" for kind in KINDS if r[kind]) or "0",
}


def fuzz(results: Path) -> str:
    """What became of damaged inputs, for each target and in all."""
    record = read(results / "fuzz.json")
    if record is None:
        return table(COLUMNS, [])
    rows = record["rows"]
    counted = ("inputs", "fine", "refused", *KINDS)
    total: Record = {"target": "**all**"} | {k: sum(row[k] for row in rows) for k in counted}
    return f"{table(COLUMNS, lines_of(COLUMNS, [*rows, total]))}\n\n{source(record)}."


def kills(results: Path) -> str:
    """What became of results whose writer was stopped, refused or met by another."""
    record = read(results / "kills.json")
    columns: Columns = {
        "what writes": lambda r: str(r["writer"]),
        "system calls": lambda r: str(r["calls"]),
        "killed at": lambda r: str(r["tried"]["killed"]),
        "torn, refused or met": lambda r: str(sum(r["tried"].values()) - r["tried"]["killed"]),
        "losses": lambda r: str(r["losses"]),
        "commit": lambda r: r["commit"][:10] + (" " + doubt(r) if doubt(r) else ""),
    }
    if record is None:
        return table(columns, [])
    return f"{table(columns, lines_of(columns, record['rows']))}\n\n{source(record)}."
