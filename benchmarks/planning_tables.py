"""Tables of planning, out of benchmarks/results/."""

from collections.abc import Sequence
from pathlib import Path

from result_tables import MISSING, Record, read, source, table

CLASSES = tuple((metres, visible) for visible in (True, False) for metres in (1.0, 2.0, 4.0))


def planning(results: Path) -> str:
    """Who arrives, by the class of the goal; then candidates a second."""
    files = (results / "planning.json", results / "planning-gpu.json")
    records = [record for record in map(read, files) if record]
    head = ("goal", "agent", "arrive, % [95%]", "off, m", "off, degrees", "seconds a plan")
    lines: list[tuple[str, ...]] = []
    for metres, visible in CLASSES:
        goal = f"{metres:g} m, {'seen' if visible else 'outside the view'}"
        here = [
            r
            for record in records
            for r in record["rows"]
            if (r["distance_metres"], r["visible"]) == (metres, visible)
        ]
        for r in here:
            low, high = r["ci95"] or (r["success"], r["success"])
            share = f"{r['success']:.0f} [{low:.0f} to {high:.0f}]"
            off = f"{r['metres']:.2f}", f"{r['degrees']:.0f}"
            lines.append((goal, r["agent"], share, *off, f"{r['seconds_per_plan']:.2g}"))
        if not here:
            lines.append((goal, MISSING, "", "", "", ""))
    notes = [f"\n\n{_planning_note(r)}" for r in records]
    return table(head, lines) + "\n\n" + _candidates(records) + "".join(notes)


def _candidates(records: Sequence[Record]) -> str:
    head = ("ours", "against", "candidates/s", "theirs", "ratio, median (min to max)")
    lines = [
        (
            r["ours"],
            r["against"],
            f"{r['ours_per_second']:g}",
            f"{r['theirs_per_second']:g}",
            f"{r['ratio_median']:.2f} ({r['ratio_min']:.2f} to {r['ratio_max']:.2f})",
        )
        for record in records
        for r in record["speed"]
    ]
    return table(head, lines or [(MISSING, "", "", "", "")])


def _planning_note(record: Record) -> str:
    s = record["settings"]
    return (
        f"{source(record)}. {s['planner']}, {s['candidates']} candidates, {s['rounds']} rounds, "
        f"{s['horizon']} actions ahead, planned again after {s['every']}; {s['rooms']} rooms."
    )
