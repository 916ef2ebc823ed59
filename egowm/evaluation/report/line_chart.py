"""Small line charts over the frames of a clip, as SVG: overlap, commands, and any metric.

The page moves the cursor: `data-left` and `data-step` give its place at frame 0 and the distance
between frames, in picture coordinates.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from egowm.evaluation.report.page import joined

WIDTH, HEIGHT = 240, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 26.0, 8.0, 8.0, 20.0
_MAX_COMMANDS = 6
_COVERED, _DASH = 1.5, 5.0  # pixels between lines of which one hides the other, and of a dash
Line = Sequence[tuple[float, float] | None]


def iou_chart(
    curves: Mapping[int, Sequence[float | None]],
    colours: Mapping[int, str],
    last: int,
    label: str,
    band: tuple[float, float] = (0.0, 0.0),
) -> Markup:
    """IoU (0-100) over frames 0..last, a line per object.

    curves: object id -> one value per frame 0..last; None where it is undefined (a gap). Frame 0
    is undefined in most scores. colours: object id -> CSS colour. label: alternative text. band:
    values shaded behind the lines, where the second is above the first.
    """
    bottom = HEIGHT - _BOTTOM
    tall = bottom - _TOP
    parts = []
    for value in (0, 50, 100):
        y = bottom - tall * value / 100
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                _LEFT, WIDTH - _RIGHT, y=y
            )
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                _LEFT - 4, y + 4, value
            )
        )
    if band[1] > band[0]:
        parts.append(
            Markup('<rect class="band" x="{:g}" width="{:g}" y="{:.1f}" height="{:.1f}"/>').format(
                _LEFT,
                WIDTH - _LEFT - _RIGHT,
                _TOP + tall * (1 - band[1] / 100),
                tall * (band[1] - band[0]) / 100,
            )
        )
    lines = {
        number: [
            None if v is None else (_x(k, last), bottom - tall * v / 100)
            for k, v in enumerate(values)
        ]
        for number, values in curves.items()
    }
    for line in lines.values():
        parts.append(Markup('<path class="halo" d="{}"/>').format(_pieces(line)))
    parts += _drawn(lines, colours, "structure ")
    return _frame(parts, bottom, last, label)


def value_chart(
    curves: Mapping[str, Sequence[float | None]], colours: Mapping[str, str], last: int, label: str
) -> Markup:
    """Values over frames 0..last, a line per row, from the least of them to the largest.

    curves: label of a row -> one value per frame 0..last; None where it is undefined (a gap).
    colours: label -> CSS colour. label: alternative text.
    """
    known = [v for values in curves.values() for v in values if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    span, bottom = (high - low) or 1.0, HEIGHT - _BOTTOM
    tall = bottom - _TOP
    parts = []
    for value in (low, (low + high) / 2, high):
        y = bottom - tall * (value - low) / span
        parts.append(
            Markup(
                '<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                '<text x="{end}" y="{text:.1f}" text-anchor="end">{value}</text>'
            ).format(
                left=_LEFT,
                right=WIDTH - _RIGHT,
                y=y,
                end=_LEFT - 4,
                text=y + 4,
                value=_tick(value, span),
            )
        )
    lines = {
        name: [
            None if v is None else (_x(k, last), bottom - tall * (v - low) / span)
            for k, v in enumerate(values)
        ]
        for name, values in curves.items()
    }
    parts += _drawn(lines, colours)
    return _frame(parts, bottom, last, label)


def _tick(value: float, span: float) -> str:
    """With two digits of what the chart spans; three of the value where that is rounding alone."""
    if not 1e-6 <= span < math.inf:
        return f"{value:.3g}"
    decimals = max(0, math.ceil(1 - math.log10(span)))
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # never -0


def command_chart(
    actions: np.ndarray, names: Sequence[str], units: Sequence[str]
) -> tuple[Markup, str]:
    """Actions (T, A) over time, one strip per dimension, and what is left out.

    More than six dimensions do not fit: those with the largest values are shown, and the second
    text, otherwise empty, says so.

    An action holds from one frame to the next, so it is drawn as a step.
    """
    last, width = actions.shape
    shown = min(width, _MAX_COMMANDS)
    largest = np.sort(np.argsort(-np.square(actions).sum(0), kind="stable")[:shown])
    actions, names, units = actions[:, largest], *_picked(largest, names, units)
    bottom = HEIGHT - _BOTTOM
    tall = (bottom - 2) / shown
    parts = []
    for k in range(shown):
        values = actions[:, k]
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        span = (high - low) or 1.0
        base = 2 + (k + 1) * tall - 3
        room = max(tall - 18, 4.0)
        ys = base - room * (values - low) / span
        zero = base + room * low / span
        corners = [f"{_x(j + end, last):.1f},{ys[j]:.1f}" for j in range(last) for end in (0, 1)]
        unit = f" ({units[k]})" if units[k] else ""
        parts.append(
            Markup(
                '<path class="grid" d="M{left} {zero:.1f} H{right}"/>'
                '<polyline class="command" points="{points}"/>'
                '<text x="{words}" y="{y:.1f}">{name}: {low:.2f} to {high:.2f}</text>'
            ).format(
                left=_LEFT,
                words=_LEFT + 5,  # clear of the cursor at the first frame
                right=WIDTH - _RIGHT,
                zero=zero,
                points=" ".join(corners),
                y=base - room - 5.5,  # below are its letters' tails, above another strip
                name=names[k] + unit,
                low=values.min(),
                high=values.max(),
            )
        )
    rest = f"The {shown} of {width} dimensions with the largest values." if width > shown else ""
    label = f"Actions over time: {', '.join(names)}. {rest}".strip()
    return _frame(parts, bottom, last, label), rest


def _picked(chosen: np.ndarray, *lists: Sequence[str]) -> list[list[str]]:
    return [[words[k] for k in chosen] for words in lists]


def _frame(parts: Sequence[Markup], bottom: float, last: int, label: str) -> Markup:
    ticks = sorted({0, last // 2, last})
    labels = joined(
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            _x(t, last), HEIGHT - 5, t
        )
        for t in ticks
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" data-left="{left}" '
        'data-step="{step:.4f}" aria-label="{label}">{parts}{labels}'
        '<line class="cursor" x1="{left}" x2="{left}" y1="2" y2="{bottom}"/></svg>'
    ).format(
        width=WIDTH,
        height=HEIGHT,
        left=_LEFT,
        step=(WIDTH - _LEFT - _RIGHT) / max(last, 1),
        label=label,
        parts=joined(parts),
        labels=labels,
        bottom=bottom,
    )


def _x(frame: int, last: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * frame / max(last, 1)


def _drawn(lines: Mapping[Any, Line], colours: Mapping[Any, str], noun: str = "") -> list[Markup]:
    """Curves over one another. What lies on one that is drawn already is dashed, so that both are
    seen."""
    parts, below = [], list[Line]()
    for name, line in lines.items():
        under = [sum(_covers(line, other, k) for other in below) for k in range(len(line))]
        for depth in sorted(set(under)):
            part = _part(line, [k for k, count in enumerate(under) if count == depth])
            dash = f";stroke-dasharray:{_DASH:g} {_DASH * depth:g};stroke-linecap:butt"
            parts.append(
                Markup(
                    '<path class="curve" style="stroke:{}{}" d="{}"><title>{}{}</title></path>'
                ).format(colours[name], dash if depth else "", _pieces(part), noun, name)
            )
        below.append(line)
    return parts


def _covers(line: Line, other: Line, k: int) -> bool:
    """Whether the piece of a line that ends at point k, or begins there, lies on another line."""
    begins = not k or line[k - 1] is None
    ends = [k, k + 1] if begins and line[k + 1 : k + 2] not in ([], [None]) else [k - 1, k]
    pairs = [(line[j], other[j]) for j in ends if 0 <= j < len(other)]
    return all(a and b and abs(a[1] - b[1]) < _COVERED for a, b in pairs) and bool(pairs)


def _part(line: Line, ends: Sequence[int]) -> Line:
    """The pieces of a line that end at these points."""
    found: list[tuple[float, float] | None] = []
    for k in ends:
        if k - 1 not in ends:
            found += [None, line[k - 1] if k else None]
        found.append(line[k])
    return found


def _pieces(points: Line) -> str:
    """SVG path through the points, interrupted at None; a lone point becomes a dot."""
    parts, pen_down = [], False
    for k, point in enumerate(points):
        if point is None:
            pen_down = False
            continue
        x, y = point
        alone = not pen_down and (k + 1 == len(points) or points[k + 1] is None)
        parts.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}" + ("h0.1" if alone else ""))
        pen_down = True
    return " ".join(parts)
