"""Results read from disk, and tables of them in Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
MISSING = "not yet measured"


def read(path: Path) -> Record | None:
    """A result, or None where nothing was measured yet."""
    if not path.is_file():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def source(record: Record) -> str:
    """Where a result comes from, in one clause."""
    commit = (record["commit"] or "unknown")[:10] + (", with changes" if record["dirty"] else "")
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    threads = f"{record['threads']} threads; " if record["threads"] else ""
    machine = f"{record['device_name']} ({threads}{versions})"
    return (
        f"`{record['command']}` at commit {commit}, seed {record['seed']}, {record['date'][:10]}, "
        f"on {machine}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines
    )
