"""What all tables share: Markdown, the words of a record's origin, values with their range."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.measure import Record

Columns = Mapping[str, Callable[[Record], str]]  # head: cell of a row
MISSING = "not yet measured"
SAID = {  # what pages call the runs that records name by a letter
    "W": "the shipped model",
    "P": "from the prior",
    "P0": "from the prior, without actions",
    "S": "from scratch",
    "P+": "from the prior (long)",
    "S+": "from scratch (long)",
    "S++": "from scratch (twice as long)",
}


def measured_at(rows: Sequence[Record], name: Callable[[Record], str]) -> str:
    """Where each row of a record was measured, to which rows are added one by one."""
    places: dict[str, list[str]] = {}
    for row in rows:
        commit = (row["commit"] or "unknown")[:10] + (", **dirty**" if row["dirty"] else "")
        why = f"; **untraceable**: {row['untraceable']}" if row.get("untraceable") else ""
        place = f"at commit {commit}, on {row['device_name']}{why}"
        places.setdefault(place, []).append(name(row))
    said = [f"{place}: {'; '.join(dict.fromkeys(names))}" for place, names in places.items()]
    return "".join(f"\n\nRows measured {place}." for place in said)


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


def table(heads: Iterable[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; without lines, one that says that nothing was measured."""
    head = tuple(heads)
    lines = lines or [(MISSING, *[""] * (len(head) - 1))]
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line)
        for line in (head, ["---"] * len(head), *lines)
    )


def lines_of(columns: Columns, rows: Iterable[Record]) -> list[tuple[str, ...]]:
    """The lines of a table, one for each row."""
    return [tuple(cell(row) for cell in columns.values()) for row in rows]


def ranged(value: float, ci95: Sequence[float], form: str = ".1f") -> str:
    """A value with its interval, which is the value itself where it is empty."""
    low, high = ci95 or (value, value)
    return f"{value:{form}} [{low:{form}} to {high:{form}}]"


def ratio(timed: Record) -> str:
    """A speed ratio from the least to the most."""
    low, high = timed["ratio_min"], timed["ratio_max"]
    return f"{timed['ratio_median']:.2f} ({low:.2f} to {high:.2f})"


def judged(timed: Record) -> str:
    """The same beside its target."""
    return ratio(timed) + ("" if timed["ratio_median"] >= timed["target"] else ", missed")
