"""Tables of training."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.speed.training_rows import ACCURACY, CPU, CUDA, FORETOLD, LIMITS, UTILISATION, Row
from benchmarks.tables.markdown import MISSING, ratio, source, table

GB = 1e9
HEAD = ("steps/s", "times the first", "waiting for data", "peak, GB", "foretold", "to begin, s")


def training(results: Path) -> str:
    """Speed and memory of each way of training on a CPU."""
    record = read(results / "training.json")
    lines = [(row.name, *_cells(row, record)) for row in CPU]
    return "\n\n".join([table(("way of training", *HEAD), lines), *_notes(record)])


def card(results: Path) -> str:
    """The same on a card, how well it is used, and where it is not, what takes the time."""
    record = read(results / "training-gpu.json")
    lines = [(row.name, *_cells(row, record), _used(row, record)) for row in CUDA]
    head = ("network, way of training", *HEAD, "of the GPU's matrix rate")
    kernels = [
        f"{row['name']}: "
        + "; ".join(f"{100 * k['share']:.0f}% `{k['name']}`" for k in row["kernels"])
        for row in (record["rows"] if record else [])
        if utilisation(row) < UTILISATION[row["model"]]
    ]
    return "\n\n".join([table(head, lines), *_notes(record), *(f"{line}." for line in kernels)])


def foretold(results: Path) -> str:
    """What the same is expected to take, and to compute, before it was ever on a card."""
    head = ("network, way of training", "foretold, GB", "must stay, GB", "10^12 operations a step")
    record = read(results / "foretold.json")
    lines = []
    for row in FORETOLD:
        found, limit = _find(row, record), LIMITS.get(row.name)
        cells = (MISSING, "", "") if found is None else _foretold(found, limit)
        lines.append((row.name, *cells))
    return table(head, lines) + (f"\n\n{source(record)}." if record else "")


def rooms_step(results: Path) -> str:
    """What each change does to the speed of a step of the rooms' world model, on a CPU."""
    record = read(results / "rooms-step.json")
    head = ("way", "clips a step", "steps/s", "times the first", "clips/s", "times the first")
    rows = record["rows"] if record else []
    lines = [_stepped(row, row["clips"] / rows[0]["clips"]) for row in rows]
    return table(head, lines) + (f"\n\n{source(record)}." if record else "")


def _stepped(row: Record, more: float) -> tuple[str, ...]:
    ends = {name: more * row[name] for name in ("ratio_median", "ratio_min", "ratio_max")}
    steps, clips = 1 / row["seconds"], row["clips"] / row["seconds"]
    numbers = str(row["clips"]), f"{steps:.2f}", ratio(row), f"{clips:.1f}", ratio(ends)
    return row["name"], *numbers


def _foretold(found: Record, limit: float | None) -> tuple[str, ...]:
    size = found["predicted_bytes"] / GB
    asked = "" if limit is None else f"below {limit:g}" + (", **missed**" if size >= limit else "")
    return f"{size:.1f}", asked, f"{found['operations'] / 1e12:.2f}"


def _notes(record: Record | None) -> Sequence[str]:
    """Where the figures come from, and which rows could not be measured."""
    if record is None:
        return ()
    s, row = record["settings"], record["rows"][0]
    height, width = row["size"]
    note = (
        f"{source(record)}. {s['steps']} steps after {s['warmup']}, medians. First row: batches of "
        f"{row['batch_size']} clips of 1 + {row['horizon']} frames of {height}x{width}. Load of "
        f"the machine before it began: {record['load_average']:g}."
    )
    return note, *record["failed"].values()


def _find(row: Row, record: Record | None) -> Record | None:
    rows = record["rows"] if record else []
    return next((found for found in rows if found["name"] == row.name), None)


def _cells(row: Row, record: Record | None) -> tuple[str, ...]:
    found = _find(row, record)
    if record is None or found is None:
        return (MISSING, *[""] * (len(HEAD) - 1))
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
