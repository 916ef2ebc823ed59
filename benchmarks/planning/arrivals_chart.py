"""Draws how often robots arrive against the scores of the models they plan with, as SVG.

python -m benchmarks.planning.arrivals_chart docs/does-scs-predict-arrivals.svg
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RESULTS, Record, Script
from benchmarks.tables.scores_and_arrivals import numbered
from egowm.files import whole

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 720, 320, 52, 30, 44, 44
PANEL = (WIDTH - LEFT - GAP) // 2
COLOURS = {"trained": "#0b6e4f", "between two": "#1b4fd6", "noise": "#b3541e", "misled": "#6a4c93"}
PANELS = {"gain": "gain: SCS less that under another clip's actions", "psnr": "PSNR, dB"}
APART = 13.0  # pixels between numbers, at least


def chart(rows: list[Record]) -> str:
    """Two panels of the same models, numbered as in the table."""
    parts = [_text(WIDTH - 4, 16, "% that arrive; numbers as in the table", anchor="end")]
    for place, (name, label) in enumerate(PANELS.items()):
        parts += _panel(rows, name, label, LEFT + place * (PANEL + GAP))
    for place, (kind, colour) in enumerate(COLOURS.items()):
        parts.append(_text(LEFT + 90 * place, 16, kind, colour=colour))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Share of robots that arrive, against the gain and against PSNR of their '
        f'models" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(rows: list[Record], name: str, label: str, left: int) -> list[str]:
    values = [row["means"][name] for row in rows]
    step = 5 if max(values) - min(values) < 20 else 10
    ends = np.floor(min(values) / step) * step, np.ceil(max(values) / step) * step
    right, bottom = left + PANEL, HEIGHT - BOTTOM
    parts = []
    for percent in range(0, 101, 25):
        y = _height(percent)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#e4e4e4"/>')
        parts.append(_text(left - 6, y + 4, str(percent), anchor="end"))
    for mark in np.arange(ends[0], ends[1] + 1, step):
        x = _across(float(mark), ends, left)
        parts.append(_text(x, bottom + 16, f"{mark:g}", anchor="middle"))
    parts.append(_text((left + right) / 2, bottom + 34, label, anchor="middle"))
    taken: list[tuple[float, float]] = []
    for row, value in zip(rows, values, strict=True):
        x, y = _across(value, ends, left), _height(row["arrived"].mean())
        y = next(place for place in _around(y) if not _hidden(x, place, taken))
        taken.append((x, y))
        parts.append(_text(x, y + 4, row["number"], "middle", COLOURS[row["kind"]], 700))
    return parts


def _around(y: float) -> Iterator[float]:
    """Places ever further off, towards the middle first."""
    side = 1 if y < HEIGHT / 2 else -1
    for k in count():
        yield y + side * k * APART
        yield y - side * k * APART


def _hidden(x: float, y: float, taken: list[tuple[float, float]]) -> bool:
    return any(abs(x - a) < APART and abs(y - b) < APART - 0.1 for a, b in taken)


def _across(value: float, ends: tuple[float, float], left: int) -> float:
    return left + 12 + (value - ends[0]) / (ends[1] - ends[0] or 1) * (PANEL - 24)


def _height(percent: float) -> float:
    return TOP + 8 + (100 - percent) / 100 * (HEIGHT - TOP - BOTTOM - 16)


def _text(
    x: float, y: float, text: str, anchor: str = "start", colour: str = "#333333", weight: int = 400
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-weight="{weight}">{text}</text>'


def options(add: Callable[..., Any]) -> None:
    add("file", type=Path, help="SVG to write")
    add("--results", type=Path, default=RESULTS, help="folder of the records")


def work(arguments: argparse.Namespace) -> None:
    """Nothing is drawn before three models have scores and arrivals."""
    rows = numbered(arguments.results)
    if len(rows) < 3:
        raise ValueError(
            f"Expected records of at least 3 models in {arguments.results}, found {len(rows)}: run "
            f"python -m benchmarks.planning.scores_and_arrivals first."
        )
    with whole(arguments.file) as temporary:
        temporary.write_text(chart(rows), encoding="utf-8")


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
