"""Points and boxes that say where a structure is, and the trackers that understand them."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from egowm.checks import counted
from egowm.limits import load_json
from egowm.scs.trackers.base import Tracker

MOVING = frozenset({"person", "hand", "robot arm", "screen", "floor", "ceiling"})
_HOW = (
    'expected {"size": [H, W], "clips": {"clip": [{"id": 1, "label": "wall", "points": [[x, y]], '
    '"point_labels": [1], "box": [x0, y0, x1, y1]}]}}, with points, a box, or both; point labels '
    "are 1 (inside) and 0 (outside)"
)


class Prompt(NamedTuple):
    """Where one structure is, in pixels of an image of `size` (H, W)."""

    id: int
    label: str
    points: np.ndarray  # (P, 2) x, y
    point_labels: np.ndarray  # (P,) 1 inside, 0 outside
    box: np.ndarray | None  # (4,) x0, y0, x1, y1
    size: tuple[int, int]

    def scaled(self, height: int, width: int) -> "Prompt":
        """The same in pixels of another size; ValueError for another aspect ratio."""
        if self.size[0] * width != self.size[1] * height:
            raise ValueError(
                f"The prompts refer to pictures of {self.size[1]}x{self.size[0]}, the frames are "
                f"{width}x{height}: another crop. Mark the frames as they are scored."
            )
        factor = height / self.size[0]
        box = None if self.box is None else self.box * factor
        return self._replace(points=self.points * factor, box=box, size=(height, width))


@runtime_checkable
class Segmenter(Protocol):
    """A tracker that also finds the mask of a prompt."""

    def segment(self, frame: np.ndarray, prompts: list[Prompt]) -> tuple[np.ndarray, np.ndarray]:
        """Masks (P, H, W) bool in `frame` (H, W, 3) uint8, and how good each is, (P,) in [0, 1]."""


def check_segmenter(tracker: Tracker) -> Segmenter:
    """The tracker, if it understands prompts; else ValueError."""
    if not isinstance(tracker, Segmenter):
        raise ValueError(
            f"The tracker {tracker.name!r} cannot find masks by itself. Use one that can (sam2, "
            f"with its weights), or draw masks and give --masks DIR."
        )
    return tracker


def read_prompts(path: Path) -> dict[str, list[Prompt]]:
    """The prompts of every clip."""
    record = load_json(path, _HOW.removeprefix("expected "))
    try:
        height, width = map(int, record["size"])
        if height < 1 or width < 1:
            raise ValueError(f"a size of {height} x {width}")
        clips = record["clips"].items()
        return {str(n): [_prompt(entry, (height, width)) for entry in rows] for n, rows in clips}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: {_HOW}; got {type(error).__name__} {error}.") from error


def _prompt(entry: dict[str, Any], size: tuple[int, int]) -> Prompt:
    points = np.array(entry.get("points") or [], float).reshape(-1, 2)
    labels = np.array(entry.get("point_labels") or [1] * len(points), int)
    box = None if entry.get("box") is None else np.array(entry["box"], float)
    if len(labels) != len(points) or not set(labels.tolist()) <= {0, 1}:
        raise ValueError(f"point_labels {labels.tolist()} for {counted(len(points), 'point')}")
    if box is None and not len(points):
        raise ValueError(f"structure {entry['id']} has neither points nor a box")
    if box is not None and (box.shape != (4,) or not (box[:2] < box[2:]).all()):
        raise ValueError(f"a box {box.tolist()}")
    return Prompt(int(entry["id"]), str(entry.get("label", "")), points, labels, box, size)
