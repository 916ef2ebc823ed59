"""Tables of image encoders: what their frozen features say, how lives agree, who arrives."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Record, read
from benchmarks.tables.markdown import ranged, source, table
from egowm.scs.bootstrap import interval

FILE = "encoders.json"
HEADS = {
    "depth": "R2 of depth",
    "metres_r2": "R2 of the way",
    "degrees_r2": "R2 of the turn",
    "room": "room found",
    "spread": "spread",
}

KINDS = {"by_target": "by target", "centred": "centred", "raw": "raw"}  # of agreement
GROUPS = {
    "all": "pairs of whole lives, on the way and at the end",
    "trained": "pairs at the end",
}


def encoders(results: Path) -> str:
    """One line an encoder, its ablations below it: the mean over its seeds, least to most."""
    record = read(results / FILE)
    heads = ["encoder", "seeds", "steps", "CPU seconds", *HEADS.values()]
    if record is None:
        return table(heads, [])
    rows: dict[str, list[Record]] = {}
    for row in record["rows"]:
        rows.setdefault(row["row"], []).append(row)
    families = list(dict.fromkeys(map(_family, rows)))
    lines = [
        [name, str(len(rows[name])), *_budget(rows[name]), *(_over(rows[name], k) for k in HEADS)]
        for name in sorted(rows, key=lambda name: families.index(_family(name)))
    ]
    return f"{table(heads, lines)}\n\n{source(record)}."


def _family(name: str) -> str:
    """The encoder of an ablation, which may be measured without it or before it."""
    return name.partition(",")[0]


def lives(results: Path) -> str:
    """Agreement of two encoders (CAS), each beside its references."""
    record = read(results / "lives.json")
    heads = [
        "encoders", "minutes of video", "training, min", "steps", "by target", "centred", "raw",
        "own place, raw", "chance", "R2 of depth",
    ]  # fmt: skip
    if record is None:
        return table(heads, [])
    lines = [_alike(row) for row in sorted(record["rows"], key=_order)]
    untrained = record["rows"][0]["cas"]["two untrained"] if record["rows"] else {}
    said = ", ".join(f"{_cas(untrained[kind])} {words}" for kind, words in KINDS.items())
    note = f"Two untrained networks agree by {said}." if untrained else ""
    parts = [table(heads, lines), note, _together(record["together"]), f"{source(record)}."]
    return "\n\n".join(parts)


def _order(row: Record) -> tuple[Any, ...]:
    """What was trained to its end first, the most video first."""
    return -row["rooms"], not row["last"], -row["seconds"], row["a"], row["b"], row["steps"]


def _alike(row: Record) -> list[str]:
    cas = row["cas"]
    both = cas["A and B"]
    place = np.mean([cas[f"{name} and its own place"]["raw"]["mean"] for name in "AB"])
    steps = " and ".join(f"{n:,}" for n in dict.fromkeys(row["steps"]))
    return [
        f"{row['a']}, {row['b']}", f"{row['minutes']:g}", f"{row['seconds'] / 60:.0f}", steps,
        *(_cas(both[kind]) for kind in KINDS), f"{place:.2f}", f"{row['chance']:.2f}",
        " and ".join(f"{depth:.2f}" for depth in row["depth"]),
    ]  # fmt: skip


def _cas(summary: Record) -> str:
    ends = summary["interval"]  # None of few rooms
    return ranged(summary["mean"], ends, ".2f") if ends else f"{summary['mean']:.2f}"


def _together(groups: Record) -> str:
    told = [
        "; ".join(
            f"{group[kind]:.2f} over {group['count']} {GROUPS.get(name, f'of {name} on the way')}"
            for name, group in groups.items()
            if group[kind] is not None
        )
        for kind in KINDS
    ]
    kinds = zip(KINDS.values(), told, strict=True)
    said = ". ".join(f"{words}, {found}" for words, found in kinds if found)
    return f"Rank correlation of agreement with the mean R2 of depth: {said}."


def costs(results: Path) -> str:
    """Who arrives by the cost of each encoder, and how that differs from pixels, room by room."""
    record = read(results / "encoder-costs.json")
    heads = [
        "goal, m", "who imagines", "candidates", "rooms", "compared", "seeds", "arrive, %",
        "minus pixels [95%]", "off, m",
    ]  # fmt: skip
    if record is None:
        return table(heads, [])
    rows: dict[tuple[str, ...], list[Record]] = {}
    for row in record["rows"]:
        told = f"{row['distance']:g}", row["imagines"], str(row["candidates"]), str(row["rooms"])
        rows.setdefault((*told, row["cost"]), []).append(row)
    lines = []
    for (*task, cost), found in rows.items():
        pixels = rows.get((*task, "pixels"))
        paired = "" if cost == "pixels" or pixels is None else _minus(found, pixels)
        share, off = _over(found, "success", ".0f"), _over(found, "metres")
        lines.append([*task, cost, str(len(found)), share, paired, off])
    return f"{table(heads, lines)}\n\n{source(record)}."


def _minus(found: list[Record], pixels: list[Record]) -> str:
    """What they arrive more often than pixels, room by room."""
    more = _arrived(found) - _arrived(pixels)
    ends = interval(more)
    return ranged(more.mean(), ends, ".0f") if ends else f"{more.mean():.0f}"


def _arrived(found: list[Record]) -> np.ndarray:
    """Percent (R,) of the seeds that arrive in each room."""
    share: np.ndarray = 100.0 * np.mean([row["each"] for row in found], axis=0)
    return share


def _budget(found: list[Record]) -> tuple[str, str]:
    if "steps" not in found[0]:
        return "", ""
    steps, seconds = (np.mean([row[key] for row in found]) for key in ("steps", "cpu_seconds"))
    return f"{steps:,.0f}", f"{seconds:,.0f}"


def _over(found: list[Record], key: str, form: str = ".2f") -> str:
    values = [row[key] for row in found]
    low, high = min(values), max(values)
    spread = f" ({low:{form}} to {high:{form}})" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{spread}"
