"""The actions of a clip as a picture: the robot's path from above, or each command over time."""

import numpy as np
from markupsafe import Markup

from egowm.actions.poses import planar_path
from egowm.evaluation.report.line_chart import HEIGHT, WIDTH
from egowm.evaluation.report.page import joined
from egowm.evaluation.run_folder import Actions

_MARGIN = 16.0
_MIN_SPAN = 0.5  # metres: a robot that stands still is not magnified into a journey
_ANGLES = {"rad": 1.0, "radian": 1.0, "radians": 1.0, "deg": np.pi / 180, "degree": np.pi / 180,
           "degrees": np.pi / 180, "°": np.pi / 180}  # fmt: skip


def is_planar(meaning: Actions) -> bool:
    """Whether actions are body-frame SE(2): dx forward, dy left, dyaw counter-clockwise."""
    return (
        meaning.frame == "body"
        and len(meaning.names) == 3
        and "yaw" in meaning.names[2].lower()
        and meaning.units[2] in _ANGLES
    )


def planar_poses(actions: np.ndarray, meaning: Actions) -> np.ndarray:
    """Poses (T+1, 3), in radians, of planar actions (T, 3) whose turn may be in degrees.

    The first pose is the origin, looking along x, with y to the left.
    """
    return planar_path(np.asarray(actions, np.float64) * [1, 1, _ANGLES[meaning.units[2]]])


def path_summary(poses: np.ndarray, unit: str) -> str:
    """Distance travelled and net turn in words: "2.6 m, turns 34.2° left"."""
    distance = float(np.hypot(*np.diff(poses[:, :2], axis=0).T).sum())
    turn = float(np.degrees(poses[-1, 2] - poses[0, 2]))
    if abs(turn) < 0.05:
        return f"{distance:.1f} {unit}, no turn"
    return f"{distance:.1f} {unit}, turns {abs(turn):.1f}° {'left' if turn > 0 else 'right'}"


def draw_path(actions: np.ndarray, meaning: Actions) -> tuple[Markup, str]:
    """Top-down SVG of planar actions (T, 3) and its summary; the robot starts looking up.

    The page moves the marker: `data-poses` holds "x,y,degrees" per frame in picture coordinates.
    """
    poses = planar_poses(actions, meaning)
    summary = path_summary(poses, meaning.units[0])
    up, right = poses[:, 0], -poses[:, 1]
    wide = max(2 * float(np.abs(right).max()), _MIN_SPAN)
    tall = max(float(np.ptp(up)), _MIN_SPAN)
    scale = min((WIDTH - 2 * _MARGIN) / wide, (HEIGHT - 2.5 * _MARGIN) / tall)
    xs = WIDTH / 2 + scale * right
    ys = HEIGHT - 1.25 * _MARGIN + scale * (float(up.min()) - up)
    marks = zip(xs, ys, -np.degrees(poses[:, 2]), strict=True)
    data = " ".join(f"{x:.1f},{y:.1f},{angle:.1f}" for x, y, angle in marks)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    dots = joined(
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="1.6"/>').format(x, y)
        for x, y in zip(xs, ys, strict=True)
    )
    svg = Markup(
        '<svg class="path" viewBox="0 0 {width} {height}" role="img" data-poses="{data}" '
        'aria-label="Path from above: {summary}">'
        '<polyline class="ahead" points="{line}"/><g class="dots">{dots}</g>'
        '<polyline class="travelled" points=""/>{scale}'
        '<path class="robot" d="M0 -9 L6.5 7 L0 3.5 L-6.5 7 Z" '
        'transform="translate({x:.1f} {y:.1f})"/></svg>'
    ).format(
        width=WIDTH,
        height=HEIGHT,
        data=data,
        summary=summary,
        line=line,
        dots=dots,
        scale=_scale_bar(scale, meaning.units[0]),
        x=xs[0],
        y=ys[0],
    )
    return svg, summary


def _scale_bar(scale: float, unit: str) -> Markup:
    """A bar of a round length, at most a third of the picture."""
    room = WIDTH / 3 / scale
    exponent = 10.0 ** np.floor(np.log10(room))
    length = max(step * exponent for step in (1, 2, 5) if step * exponent <= room)
    pixels = length * scale
    return Markup(
        '<path class="scale" d="M8 {} v4 h{:.1f} v-4"/><text x="{:.1f}" y="{}">{:g} {}</text>'
    ).format(HEIGHT - 10, pixels, 12 + pixels, HEIGHT - 5, length, unit)
