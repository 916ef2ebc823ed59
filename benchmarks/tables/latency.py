"""The tables of latency: the paper's figure, models at equal terms, and what each choice gives."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Record, read
from benchmarks.speed.latency_cases import (
    ALL_ON,
    CALLS,
    CHOICES,
    COSMOS,
    MODELS,
    NWM,
    PAPER,
    SIZE,
    SVD,
)
from benchmarks.tables.markdown import MISSING, source, table

CHART = "![Seconds of a video against its frames, both axes logarithmic](latency.svg)"
BUSY = 1.5  # processes that want to run, for each core


def latency(results: Path) -> str:
    """On a CPU at reduced size, and on a GPU at the papers' sizes."""
    records = {"CPU": read(results / "latency.json"), "GPU": read(results / "latency-gpu.json")}
    parts = [CHART] if records["CPU"] else []
    for device, record in records.items():
        if record is None:
            parts.append(f"{device}: {MISSING}.")
            continue
        shown = [_figure(record), _ratios(record), _equal(record), _choices(record)]
        parts += [*(part for part in shown if part), _note(device, record)]
    return "\n\n".join(parts)


def _figure(record: Record) -> str:
    rows = [r for r in record["rows"] if r["group"] == PAPER]
    lengths = sorted({r["frames"] for r in rows})
    head = ("model", "parameters", "frames", "network calls", *map(str, lengths))
    lines = []
    for name in MODELS:
        found = {r["frames"]: r for r in rows if r["name"] == name}
        first, last = found[lengths[0]], found[lengths[-1]]
        size = f"{first['height']}x{first['width']}"
        about = (name, f"{first['parameters'] / 1e6:.1f} M", size, f"{last['network_calls']:,}")
        lines.append((*about, *(_seconds(found[n]) for n in lengths)))
    what = (
        f"Seconds of a video of {lengths[0]} to {lengths[-1]} frames; network calls of the longest:"
    )
    return f"{what}\n\n{table(head, lines)}"


def _ratios(record: Record) -> str:
    """How much longer NWM takes for the longest video."""
    rows = [r for r in record["rows"] if r["group"] == PAPER]
    last = max(r["frames"] for r in rows)
    found = {r["name"]: r for r in rows if r["frames"] == last}
    times = {n: found[NWM]["seconds"] / found[n]["seconds"] for n in (SVD, COSMOS, ALL_ON)}
    ratios = ", ".join(f"{value:.1f} times as long as {name}" for name, value in times.items())
    doubt = " (extrapolated)" if any("extrapolated_from" in found[n] for n in (NWM, *times)) else ""
    return f"For {last} frames {NWM} takes {ratios}{doubt}."


def _equal(record: Record) -> str:
    head = ("compared at", "model", "size", "network calls", "seconds", "calls a second")
    lines = [
        (
            r["group"],
            r["name"],
            f"{r['height']}x{r['width']}",
            str(r["network_calls"]),
            _seconds(r),
            f"{r['network_calls'] / r['seconds']:.3g}",
        )
        for group in (SIZE, CALLS)
        for r in _longest(record["rows"], group)
    ]
    about = f"{_length(record, SIZE)} at one size, and with as many network calls as frames"
    return f"{about}:\n\n{table(head, lines)}"


def _choices(record: Record) -> str:
    rows = _longest(record["rows"], CHOICES)
    head = ("EgoWM on SVD", "network calls", "seconds", "times faster")
    lines = [
        (
            r["name"],
            str(r["network_calls"]),
            _seconds(r),
            f"{rows[0]['seconds'] / r['seconds']:.1f}",
        )
        for r in rows
    ]
    about = (
        "each row of the first six with one choice more, the others with one change of the sixth"
    )
    return f"{_length(record, CHOICES)}; {about}:\n\n{table(head, lines)}"


def _length(record: Record, group: str) -> str:
    """How many frames a group is compared at."""
    return f"{max(r['frames'] for r in record['rows'] if r['group'] == group)} frames"


def _longest(rows: Sequence[Record], group: str) -> list[Record]:
    found = [r for r in rows if r["group"] == group]
    return [r for r in found if r["frames"] == max(other["frames"] for other in found)]


def _seconds(row: Record) -> str:
    """With about three digits, marked where extrapolated."""
    form = ",.0f" if row["seconds"] >= 100 else ".3g"
    return ("≈ " if "extrapolated_from" in row else "") + f"{row['seconds']:{form}}"


def _note(device: str, record: Record) -> str:
    s, load = record["settings"], record["load_average"]
    busy = max(load) > BUSY * record["cores"]
    words = f", **beside other work** (load {load[0]:g} to {load[-1]:g}): only large ratios count"
    words = words if busy else ""
    toy = f"; at most {s['most_steps']} steps" if s["most_steps"] else ""
    some = any("extrapolated_from" in r for r in record["rows"])
    marked = f" ≈ is extrapolated: a run is not made beyond {s['limit']:g} s." if some else ""
    return (
        f"{device}: {source(record)}{words}. {record['rows'][0]['dtype']}, random weights, medians "
        f"of {s['rounds']}{toy}.{marked}"
    )
