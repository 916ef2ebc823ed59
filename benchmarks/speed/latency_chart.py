"""Seconds against frames, a line for each model, as SVG; both axes are logarithmic."""

import math
from collections.abc import Sequence
from html import escape

from benchmarks.measure import Record
from benchmarks.speed.latency_cases import ALL_ON, COSMOS, MODELS, NWM, NWM_FEW, PAPER, SVD

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 180, 20, 48
COLOURS = {
    NWM: "#b3541e",
    NWM_FEW: "#d99a6c",
    SVD: "#1b4fd6",
    COSMOS: "#6a4c93",
    ALL_ON: "#0b6e4f",
}
APART = 16  # pixels between labels, at least


def latency_chart(record: Record) -> str:
    """The figure of a record; extrapolated points are hollow."""
    rows = [r for r in record["rows"] if r["group"] == PAPER]
    values = [r["seconds"] for r in rows]
    ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    lengths = sorted({r["frames"] for r in rows})
    lines = {name: _points(rows, name, lengths, ends) for name in MODELS}
    parts = _axes(lengths, ends)
    for name, points in lines.items():
        corners = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in points)
        parts.append(f'<path d="M{corners}" fill="none" stroke="{COLOURS[name]}"/>')
        for x, y, hollow in points:
            fill = "#ffffff" if hollow else COLOURS[name]
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{fill}" '
                f'stroke="{COLOURS[name]}"/>'
            )
    parts += _labels({name: points[-1][1] for name, points in lines.items()})
    if any("extrapolated_from" in r for r in rows):
        parts.append(_text(WIDTH - RIGHT + 10, HEIGHT - 12, "hollow: extrapolated", "#555555"))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Seconds against imagined frames: {", ".join(MODELS)}" '
        f'font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _points(
    rows: Sequence[Record], name: str, lengths: Sequence[int], ends: tuple[int, int]
) -> list[tuple[float, float, bool]]:
    """Of one model: places, and whether extrapolated."""
    found = sorted((r for r in rows if r["name"] == name), key=lambda r: r["frames"])
    return [
        (_x(r["frames"], lengths), _y(r["seconds"], ends), "extrapolated_from" in r) for r in found
    ]


def _x(frames: int, lengths: Sequence[int]) -> float:
    share = math.log(frames / lengths[0]) / (math.log(lengths[-1] / lengths[0]) or 1.0)
    return LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24)


def _y(seconds: float, ends: tuple[int, int]) -> float:
    low, high = ends
    return TOP + (high - math.log10(seconds)) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


def _axes(lengths: Sequence[int], ends: tuple[int, int]) -> list[str]:
    parts = []
    for power in range(ends[0], ends[1] + 1):
        y = _y(10.0**power, ends)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g}", anchor="end"))
    for frames in lengths:
        place = _x(frames, lengths), HEIGHT - BOTTOM + 20
        parts.append(_text(*place, str(frames), anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 8, "imagined frames", anchor="middle"))
    parts.append(
        f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">seconds</text>'
    )
    return parts


def _labels(heights: dict[str, float]) -> list[str]:
    """Beside the lines' ends, none over another."""
    parts, above = [], -math.inf
    for name, height in sorted(heights.items(), key=lambda pair: pair[1]):
        above = max(height + 4, above + APART)
        parts.append(_text(WIDTH - RIGHT + 10, above, name, COLOURS[name]))
    return parts


def _text(x: float, y: float, text: str, fill: str = "#000000", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
    )
