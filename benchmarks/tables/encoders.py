"""The table of image encoders: what their frozen features say."""

from pathlib import Path

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import source, table

FILE = "encoders.json"
HEADS = {
    "depth": "R2 of depth",
    "metres_r2": "R2 of the way",
    "degrees_r2": "R2 of the turn",
    "room": "room found",
    "spread": "spread",
}


def encoders(results: Path) -> str:
    """One line an encoder: the mean over its seeds, from the least to the most."""
    record = read(results / FILE)
    heads = ["encoder", "seeds", "steps", "CPU seconds", *HEADS.values()]
    if record is None:
        return table(heads, [])
    rows: dict[str, list[Record]] = {}
    for row in record["rows"]:
        rows.setdefault(row["row"], []).append(row)
    lines = [
        [name, str(len(found)), *_budget(found), *(_over(found, key) for key in HEADS)]
        for name, found in rows.items()
    ]
    return f"{table(heads, lines)}\n\n{source(record)}."


def _budget(found: list[Record]) -> tuple[str, str]:
    if "steps" not in found[0]:
        return "", ""
    steps, seconds = (np.mean([row[key] for row in found]) for key in ("steps", "cpu_seconds"))
    return f"{steps:,.0f}", f"{seconds:,.0f}"


def _over(found: list[Record], key: str) -> str:
    values = [row[key] for row in found]
    low, high = min(values), max(values)
    spread = f" ({low:.2f} to {high:.2f})" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"
