"""The table of damaged inputs."""

from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import Columns, lines_of, source, table

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
