"""Results read from disk, and tables of them in Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
MISSING = "not yet measured"
SAID = {  # what pages call the runs that records name by a letter
    "P": "from the prior",
    "P0": "from the prior, without actions",
    "S": "from scratch",
    "P+": "from the prior (long)",
    "S+": "from scratch (long)",
}


def read(path: Path) -> Record | None:
    """A result, or None where nothing was measured yet."""
    if not path.is_file():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def source(record: Record) -> str:
    """Where a result comes from, in one clause."""
    commit = (record["commit"] or "unknown")[:10] + (", **dirty**" if record["dirty"] else "")
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    threads = f"{record['threads']} threads; " if record["threads"] else ""
    machine = f"{record['device_name']} ({threads}{versions})"
    why = record.get("untraceable")
    return (
        f"`{record['command']}` at commit {commit}, seed {record['seed']}, {record['date'][:10]}, "
        f"on {machine}" + (f"; **untraceable**: {why}" if why else "")
    )


def doubt(record: Record) -> str:
    """In a word or two, why a record cannot be made again; "" where it can.

    A record of training holds under `began` at which commit that began.
    """
    found = _with_beginning(record)
    words = ["dirty"] if any(r["dirty"] for r in found) else []
    words += ["untraceable"] if any(r.get("untraceable") for r in found) else []
    return ", ".join(words)


def caveat(record: Record) -> str:
    """The same with reasons, as a paragraph below a table that names no source."""
    reasons = dict.fromkeys(r["untraceable"] for r in _with_beginning(record) if "untraceable" in r)
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"\n\n**{doubt(record)}**{why}." if doubt(record) else ""


def _with_beginning(record: Record) -> list[Record]:
    return [record, *([record["began"]] if "began" in record else [])]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines
    )
