"""The curve "SCS against number of labelled episodes", as SVG."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.experiment.arms import LABELLED, at_its_rate
from benchmarks.experiment.claims import is_unet
from benchmarks.measure import Record
from benchmarks.tables.markdown import SAID, doubt

WIDTH, HEIGHT = 640, 440
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 20, 48
COLOURS = {"P": "#0b6e4f", "S": "#b3541e", "P+": "#1b4fd6", "S+": "#6a4c93"}
BELOW = {"P": 14, "S": 14, "P+": -6, "S+": 6}  # pixels from the last point to its label
LINES = {
    ("truth through the VAE", ""): "truth through the VAE",
    ("simulator", "mean"): "simulator, mean action",
    ("copy", ""): "first frame repeated",
}


def label_curve(record: Record) -> str:
    """Mean over training runs with the 95% interval over clips; `record` is rooms.json.

    A point is hollow where a training record behind it is dirty or cannot be traced.
    """
    rates = record["learning_rates"]
    doubtful = {run["run"] for run in record["training"] if doubt(run)}
    rows = [r for r in record["rows"] if r["world"] == "rooms" and not r.get("variant")]
    rows = list(filter(is_unet, rows))
    points: dict[str, dict[int, list[Record]]] = {}
    for r in rows:
        if r["arm"] in COLOURS and r["actions"] == "true" and at_its_rate(r, rates):
            points.setdefault(r["arm"], {}).setdefault(r["episodes"], []).append(r)
    parts = _axes()
    for (arm, told), label in LINES.items():
        found = [r for r in rows if (r["arm"], r["actions"]) == (arm, told)]
        if found:
            parts.append(_line(found[0]["scs"], label))
    for arm in (arm for arm in COLOURS if arm in points):
        parts += _arm(arm, points[arm], doubtful)
    if doubtful:
        parts += _hollow()
    body = "\n".join(parts)
    label = f"SCS against the number of labelled episodes: {', '.join(SAID[a] for a in COLOURS)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}" font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _x(episodes: int) -> float:
    share = math.log(episodes / LABELLED[0]) / math.log(LABELLED[-1] / LABELLED[0])
    return LEFT + 24 + share * (WIDTH - LEFT - RIGHT - 48)


def _y(scs: float) -> float:
    return TOP + (100 - scs) / 100 * (HEIGHT - TOP - BOTTOM)


def _axes() -> list[str]:
    parts = []
    for value in range(0, 101, 20):
        y = _y(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>')
    for size in LABELLED:
        x, y = _x(size), HEIGHT - BOTTOM + 20
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{size}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">labelled episodes of 64 '
        f"frames</text>"
    )
    parts.append(
        f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">SCS, 16 frames</text>'
    )
    return parts


def _line(scs: float, label: str) -> str:
    y = _y(scs)
    return (
        f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#777777" stroke-dasharray="5 4"/>'
        f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}" fill="#555555">{escape(label)}</text>'
    )


def _hollow() -> list[str]:
    lines = ("hollow: training record", "that cannot be traced")
    return [
        f'<text x="{WIDTH - RIGHT + 8}" y="{HEIGHT - 26 + 16 * k}" fill="#555555">{line}</text>'
        for k, line in enumerate(lines)
    ]


def _arm(arm: str, sizes: dict[int, list[Record]], doubtful: set[str]) -> list[str]:
    colour, parts, dots, corners = COLOURS[arm], [], [], []
    for episodes in sorted(sizes):
        found = sizes[episodes]
        x, y = _x(episodes), _y(_mean([r["scs"] for r in found]))
        low, high = (_y(_mean([r["ci95"][k] for r in found])) for k in (0, 1))
        corners.append(f"{x:.1f} {y:.1f}")
        parts.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" opacity="0.5"/>')
        hollow = any(r.get("run") in doubtful for r in found)
        fill = f'fill="#ffffff" stroke="{colour}"' if hollow else f'fill="{colour}"'
        dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {fill}/>')
    if len(corners) > 1:
        parts.append(f'<path d="M{"L".join(corners)}" fill="none" stroke="{colour}"/>')
    parts += dots  # above the line
    last_x, last_y = corners[-1].split()
    parts.append(
        f'<text x="{float(last_x) + 10:.0f}" y="{float(last_y) + BELOW[arm]:.1f}" fill="{colour}" '
        f'paint-order="stroke" stroke="#ffffff" stroke-width="5">{escape(SAID[arm])}</text>'
    )
    return parts


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
