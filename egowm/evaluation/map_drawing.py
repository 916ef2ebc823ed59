"""A map from above for films: ways that are driven, where they may lead, and what stands around."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from egowm.evaluation.film import SIDE, Colour

_MARGIN = 18.0  # pixels around what is shown
_SPAN = 1.0  # metres: a robot that stands still is not magnified into a journey
_FINE = 3  # drawn so many times as large, then made smaller, for smooth lines
_BOLD = 2.5  # pixels of a way that was driven
_APART = 0.01  # metres between ways that are two
_INK = (20, 20, 20)
_GOAL: Colour = (200, 30, 30)


class Way(NamedTuple):
    """Poses (n, 3), x, y, yaw in metres and radians, one for each frame, and their colour."""

    poses: np.ndarray
    colour: Colour


class Outline(NamedTuple):
    """What stands in a place: the corners (n, 2) of its outline in metres, and its colour."""

    corners: np.ndarray
    colour: Colour


def draw_map(
    ways: Sequence[Way],
    side: int = SIDE,
    outlines: Sequence[Outline] = (),
    goal: np.ndarray | None = None,
    planned: Sequence[Way] = (),
    span: float = _SPAN,
) -> np.ndarray:
    """Frames (n, side, side, 3) uint8 of robots under way; the first robot starts looking up.

    Args:
        ways: One for each robot; what it has driven is drawn bold, what is to come faint.
        side: Pixels.
        outlines: Of walls and things, in the coordinates of the poses.
        goal: A pose (3,).
        planned: For each frame the way ahead that was planned, drawn thin.
        span: Metres that are shown at least.
    """
    ends = [way.poses[:, :2] for way in (*ways, *planned)]
    ends += [] if goal is None else [goal[None, :2]]
    sheet = _Sheet(np.concatenate(ends), ways[0].poses[0], side, span)
    for outline in outlines:
        sheet.fill(outline.corners, outline.colour)
    for way in ways:
        sheet.line(way.poses, _faint(way.colour), 1.5)
    if goal is not None:
        sheet.robot(goal, _GOAL)
        sheet.ring(goal, _GOAL)
    frames = []
    for k in range(max(len(way.poses) for way in ways)):
        now = sheet.copy()
        if planned:
            ahead = planned[min(k, len(planned) - 1)]
            now.line(ahead.poses, ahead.colour, 1.2)
        for number, way in enumerate(ways):
            above = sorted((_together(way, other) for other in ways[number + 1 :]), reverse=True)
            for count, shared in enumerate(above, 1):  # so wide that it is seen on both sides
                now.line(way.poses[: min(shared, k + 1)], way.colour, _BOLD * (1 + count))
            now.line(way.poses[: k + 1], way.colour, _BOLD)
            now.robot(way.poses[min(k, len(way.poses) - 1)], way.colour)
        frames.append(now.picture())
    return np.stack(frames)


def _together(way: Way, other: Way) -> int:
    """How many poses two ways share from their start."""
    count = min(len(way.poses), len(other.poses))
    apart = np.abs(way.poses[:count, :2] - other.poses[:count, :2]).max(1) > _APART
    return int(apart.argmax()) if apart.any() else count


def _faint(colour: Colour) -> Colour:
    red, green, blue = ((value + 2 * 255) // 3 for value in colour)
    return red, green, blue


class _Sheet:
    """Paper on which metres are drawn.

    points (n, 2): what must be on it. start: the pose (3,) that looks up. side: pixels. span:
    metres that are shown at least.
    """

    def __init__(self, points: np.ndarray, start: np.ndarray, side: int, span: float) -> None:
        from PIL import Image

        self.start, self.side = np.asarray(start, float), side
        low, high = self._turned(points).min(0), self._turned(points).max(0)
        span = max(float((high - low).max()), span)
        self.scale, self.centre = (side - 2 * _MARGIN) / span, (low + high) / 2
        self._draw(Image.new("RGB", (side * _FINE, side * _FINE), "white"))

    def copy(self) -> "_Sheet":
        """The same, to be drawn on apart."""
        other = object.__new__(_Sheet)
        other.__dict__.update(self.__dict__)
        other._draw(self.image.copy())
        return other

    def fill(self, corners: np.ndarray, colour: Colour) -> None:
        self.pen.polygon(self._at(corners), fill=colour)

    def line(self, poses: np.ndarray, colour: Colour, width: float) -> None:
        if len(poses) > 1:
            self.pen.line(self._at(poses[:, :2]), fill=colour, width=round(width * _FINE))

    def ring(self, pose: np.ndarray, colour: Colour) -> None:
        (x, y), reach = self._at(pose[None, :2])[0], 10 * _FINE
        self.pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=_FINE)

    def robot(self, pose: np.ndarray, colour: Colour) -> None:
        """A triangle that points where the robot looks."""
        shape = np.array([[8.0, 0.0], [-5.0, 4.5], [-2.5, 0.0], [-5.0, -4.5]]) / self.scale
        c, s = np.cos(pose[2]), np.sin(pose[2])
        self.fill(pose[:2] + shape @ np.array([[c, s], [-s, c]]), colour)

    def picture(self) -> np.ndarray:
        """As it is shown (side, side, 3) uint8, with a scale in its lower left corner."""
        from PIL import Image, ImageDraw, ImageFont

        small = self.image.resize((self.side, self.side), Image.Resampling.BOX)
        pen, low = ImageDraw.Draw(small), self.side - 7
        room = self.side / 3 / self.scale
        exponent = 10.0 ** np.floor(np.log10(room))
        length = max(step * exponent for step in (1, 2, 5) if step * exponent <= room)
        right = 6 + length * self.scale
        text, font = f"{length:g} m", ImageFont.load_default(size=11)
        pen.rectangle((3, low - 9, right + 6 + pen.textlength(text, font=font), low + 5), "white")
        pen.line([(6, low - 4), (6, low), (right, low), (right, low - 4)], _INK, 1)
        pen.text((right + 4, low), text, _INK, font=font, anchor="lm")
        return np.array(small)

    def _draw(self, image: Any) -> None:
        from PIL import ImageDraw

        self.image, self.pen = image, ImageDraw.Draw(image)

    def _turned(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) as metres to the right and up, seen from the start."""
        x, y = (np.asarray(points, float) - self.start[:2]).T
        c, s = np.cos(self.start[2]), np.sin(self.start[2])
        return np.stack([s * x - c * y, c * x + s * y], 1)

    def _at(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Points (n, 2) in pixels of the large picture."""
        right, up = ((self._turned(points) - self.centre) * self.scale).T
        x, y = (self.side / 2 + right) * _FINE, (self.side / 2 - up) * _FINE
        return list(zip(x.tolist(), y.tolist(), strict=True))
