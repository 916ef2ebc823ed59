"""Tables of training, out of benchmarks/results/."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.training_rows import ACCURACY, CPU, CUDA, FORETOLD, LIMITS, UTILISATION, Row
from benchmarks.tables.markdown import MISSING, Record, read, source, table

GB = 1e9


def training(results: Path) -> str:
    """Speed and memory of each way of training on a CPU."""
    head = (
        "way of training",
        "steps/s",
        "times the first",
        "waiting for data",
        "peak, GB",
        "foretold",
        "to begin, s",
    )
    record = read(results / "training.json")
    lines = [(row.name, *_cells(row, record)) for row in CPU]
    return _page(head, lines, record)


def card(results: Path) -> str:
    """The same on a card, and how well it is used."""
    head = (
        "network, way of training",
        "steps/s",
        "times the first",
        "waiting for data",
        "peak, GB",
        "foretold",
        "to begin, s",
        "of the GPU's matrix rate",
    )
    record = read(results / "training-gpu.json")
    lines = [(row.name, *_cells(row, record), _used(row, record)) for row in CUDA]
    return "\n".join([_page(head, lines, record), *_kernels(record)])


def foretold(results: Path) -> str:
    """What the same is expected to take, and to compute, before it was ever on a card."""
    head = (
        "network, way of training",
        "foretold, GB",
        "must stay, GB",
        "10^12 operations a step",
    )
    record = read(results / "foretold.json")
    rows = {r["name"]: r for r in record["rows"]} if record else {}
    lines = []
    for row in FORETOLD:
        found, limit = rows.get(row.name), LIMITS.get(row.name)
        cells = (MISSING, "", "") if found is None else _foretold(found, limit)
        lines.append((row.name, *cells))
    return table(head, lines) + (f"\n\n{source(record)}." if record else "")


def _foretold(found: Record, limit: float | None) -> tuple[str, ...]:
    size = found["predicted_bytes"] / GB
    asked = "" if limit is None else f"below {limit:g}" + (", **missed**" if size >= limit else "")
    return f"{size:.1f}", asked, f"{found['operations'] / 1e12:.2f}"


def _page(head: Sequence[str], lines: Sequence[Sequence[str]], record: Record | None) -> str:
    if record is None:
        return table(head, lines)
    s, row = record["settings"], record["rows"][0]
    height, width = row["size"]
    note = (
        f"{s['steps']} steps after {s['warmup']}, medians. First row: batches of "
        f"{row['batch_size']} clips of 1 + {row['horizon']} frames of {height}x{width}. Load of "
        f"the machine before it began: {record['load_average']:g}"
    )
    failed = [f"\n{message}" for message in record["failed"].values()]
    return "\n".join([table(head, lines), f"\n{source(record)}. {note}.", *failed])


def _find(row: Row, record: Record | None) -> Record | None:
    found = [r for r in record["rows"] if r["name"] == row.name] if record else []
    return found[0] if found else None


def _cells(row: Row, record: Record | None) -> tuple[str, ...]:
    found = _find(row, record)
    if record is None or found is None:
        return (MISSING, "", "", "", "", "")
    first = record["rows"][0]["seconds_per_step"]
    off = found["predicted_bytes"] / found["peak_bytes"] - 1
    limit = LIMITS.get(row.name)
    over = limit is not None and found["peak_bytes"] >= limit * GB
    return (
        f"{1 / found['seconds_per_step']:.2f}",
        f"{first / found['seconds_per_step']:.2f}",
        f"{100 * found['waiting']:.0f}%",
        f"{found['peak_bytes'] / GB:.3f}" + (f", **above {limit:g}**" if over else ""),
        f"{100 * off:+.0f}%" + (", **missed**" if abs(off) > ACCURACY else ""),
        f"{found['seconds_to_begin']:.0f}",
    )


def _used(row: Row, record: Record | None) -> str:
    found = _find(row, record)
    if found is None:
        return ""
    share = utilisation(found)
    return f"{100 * share:.0f}%" + (", missed" if share < UTILISATION[row.model] else "")


def utilisation(found: Record) -> float:
    """Operations a second, none counted twice, of the rate measured on large matrices."""
    return float(found["operations"] / found["seconds_per_step"] / found["matrix_rate"])


def _kernels(record: Record | None) -> list[str]:
    """Where the rows that miss their target spend their time."""
    rows = record["rows"] if record else []
    missed = [row for row in rows if utilisation(row) < UTILISATION[row["model"]]]
    return [
        f"\n{row['name']}: "
        + "; ".join(f"{100 * k['share']:.0f}% `{k['name']}`" for k in row["kernels"])
        + "."
        for row in missed
    ]
