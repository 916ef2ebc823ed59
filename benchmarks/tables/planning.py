"""Tables of planning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.planning.arrivals import MODELS, STOPS, WITHOUT
from benchmarks.speed.comparisons import BATCHED, BATCHED_BF16, CANDIDATES_TARGET
from benchmarks.tables.markdown import (
    MISSING,
    Columns,
    doubt,
    lines_of,
    ranged,
    ratio,
    source,
    table,
)
from egowm.scs.bootstrap import interval

AGENTS = (WITHOUT[0], *MODELS, *WITHOUT[1:])  # from the most that can be reached downwards
HALF = "bfloat16"  # ends the name of a row in that precision
CLASSES = tuple((metres, visible) for visible in (True, False) for metres in (1.0, 2.0, 4.0))
ARRIVALS: Columns = {
    "goal": lambda r: _goal(r["distance_metres"], r["visible"]),
    "agent": lambda r: _name(r),
    "arrive, % [95%]": lambda r: ranged(r["success"], r["ci95"], ".0f"),
    "off, m": lambda r: f"{r['metres']:.2f}",
    "off, degrees": lambda r: f"{r['degrees']:.0f}",
    "seconds a plan": lambda r: f"{r['seconds_per_plan']:.2g}",
}


def planning(results: Path) -> str:
    """Who arrives, by the class of the goal; then candidates a second."""
    rows = _rows(results)
    lines: list[tuple[str, ...]] = []
    for goal in CLASSES:
        here = [r for r in rows if (r["distance_metres"], r["visible"]) == goal]
        lines += lines_of(ARRIVALS, here) or [(_goal(*goal), MISSING, "", "", "", "")]
    files = (results / "candidates.json", results / "candidates-gpu.json")
    timed = [record for record in map(read, files) if record]
    parts = [table(ARRIVALS, lines), *_notes(rows), _differences(rows), _candidates(timed)]
    parts += [part for record in timed for part in (_like_for_like(record), f"{source(record)}.")]
    return "\n\n".join(part for part in parts if part)


def memory(results: Path) -> str:
    """Memory by the number of candidates."""
    record = read(results / "planning-memory.json")
    columns: Columns = {
        "candidates": lambda r: f"{r['candidates']:,}",
        "MiB at most": lambda r: f"{r['bytes'] / 2**20:.0f}",
    }
    found = table(columns, lines_of(columns, record["rows"] if record else []))
    return found + (f"\n\n{source(record)}." if record else "")


def windows(results: Path) -> str:
    """What decoding from a window of latents costs and saves."""
    record = read(results / "decode-window.json")
    head = ("window", "error, grey levels", "PSNR, dB", "times as fast as the chunk")
    if record is None:
        return table(head, [])
    s, lines = record["settings"], []
    for r in record["rows"]:
        off = f"{r['grey_levels']:.1f}", f"{r['psnr']:.1f}"
        cells = off if r["window"] < s["frames"] else ("0", "exact")
        lines.append((str(r["window"]), *cells, f"{r['ratio_median']:.1f}"))
    before = s["scale"]["the frame before"]["grey_levels"]
    note = (
        f"The last of {s['frames']} frames of rooms at {s['size']}x{s['size']}, {s['weights']} "
        f"weights; the frame before it is {before:.0f} grey levels away. {source(record)}."
    )
    return f"{table(head, lines)}\n\n{note}"


def _rows(results: Path) -> list[Record]:
    """From the most that can be reached downwards, fewest steps first."""
    found = [record for path in (results / "planning").glob("*.json") if (record := read(path))]
    return sorted(
        found,
        key=lambda r: (
            AGENTS.index(r["agent"]),
            r["settings"].get("steps", 0),
            r["device"],
            CLASSES.index((r["distance_metres"], r["visible"])),
        ),
    )


def _goal(metres: float, visible: bool) -> str:
    return f"{metres:g} m, {'seen' if visible else 'outside the view'}"


def _name(record: Record) -> str:
    marks = filter(None, ("GPU" if record["device"] == "cuda" else "", doubt(record)))
    return str(record["name"]) + "".join(f" ({mark})" for mark in marks)


def _differences(rows: Sequence[Record]) -> str:
    """Ours, of the fewest steps, less each other agent over the same rooms; who may stop apart."""
    ours = [r for r in rows if r["agent"].removesuffix(STOPS) == "ours"]
    lines = []
    for r in rows:
        reference = next((o for o in ours if _task(o) == _task(r)), None)
        if reference in (None, r):
            continue
        each = 100.0 * (np.array(reference["each"], float) - np.array(r["each"], float))
        goal = _goal(r["distance_metres"], r["visible"])
        more = ranged(each.mean(), interval(each) or (), "+.0f")
        lines.append((goal, _name(reference), _name(r), more))
    head = ("goal", "agent", "against", "arrives in more of the rooms, % [95%, paired]")
    return table(head, lines) if lines else ""


def _task(r: Record) -> tuple[Any, ...]:
    goal = r["distance_metres"], r["visible"]
    stops = r["agent"].endswith(STOPS)
    return *goal, r["device"], r["settings"]["rooms"], r["seed"], stops


def _candidates(records: Sequence[Record]) -> str:
    batched = "times the batched pipeline"
    columns: Columns = {
        "contest": lambda r: str(r["contest"]),
        "steps": lambda r: str(r["steps"]),
        "who": lambda r: str(r["who"]),
        "candidates/s": lambda r: f"{r['candidates_per_second']:.3g}",
        f"{batched} in float32 (min to max)": ratio,
    }
    head = (*columns, f"{batched} in the same precision, by candidates/s")
    lines = [
        (*line, f"{_in_same_precision(r, record):.2f}")
        for record in records
        for r, line in zip(record["rows"], lines_of(columns, record["rows"]), strict=True)
    ]
    return table(head, lines)


def _in_same_precision(row: Record, record: Record) -> float:
    """A row's candidates a second over those of the batched pipeline in the row's precision."""
    batched = BATCHED_BF16 if row["who"].endswith(HALF) else BATCHED
    wanted = (row["contest"], row["steps"], batched)
    rows = record["rows"]
    other = next(r for r in rows if (r["contest"], r["steps"], r["who"]) == wanted)
    return float(row["candidates_per_second"] / other["candidates_per_second"])


def _like_for_like(record: Record) -> str:
    """The most that ours reach, against what was asked of them."""
    ours = [r for r in record["rows"] if r["who"].startswith("ours")]
    most = max(ours, key=lambda r: _in_same_precision(r, record))
    value, beside = _in_same_precision(most, record), most["ratio_median"]
    verdict = "reached" if value >= CANDIDATES_TARGET else "**not reached**"
    half = most["who"].endswith(HALF)
    crossed = f"; its {beside:.2f} sets {HALF} beside a pipeline in float32" if half else ""
    return (
        f"Asked: {CANDIDATES_TARGET:g} times the batched pipeline. In the same precision the most "
        f"is {value:.2f} ({most['who']}, {most['steps']} step{'s'[: most['steps'] - 1]}): "
        f"{verdict}{crossed}."
    )


def _notes(rows: Sequence[Record]) -> list[str]:
    """What the rows have in common, once for each commit, date and device."""
    names = ("planner", "candidates", "rounds", "horizon", "every", "rooms")
    found: dict[tuple[str, ...], Record] = {}
    for r in rows:
        about = (r["commit"], doubt(r), r["date"][:10], r["device_name"], r["threads"])
        found.setdefault(tuple(map(str, (*about, *(r["settings"][n] for n in names)))), r)
    notes = []
    for r in found.values():
        s = r["settings"]
        notes.append(
            f"{source(r | {'command': r['command'].split(' --')[0]})}. {s['planner']}, "
            f"{s['candidates']} candidates, {s['rounds']} rounds, {s['horizon']} actions ahead, "
            f"planned again after {s['every']}; {s['rooms']} rooms."
        )
    return notes
