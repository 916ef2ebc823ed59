"""Black and repeated frames of an episode, and how far its picture moves sideways."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.inspect.findings import Finding

SIZE = (128, 64)  # width, height at which motion is measured
BLACK = 4.0  # grey levels
MOVING = 0.2  # of the 90th percentile of the action's size
LONG = 3  # repeats in a row that are no accident of a slow scene


class Pictures(NamedTuple):
    """One number a frame: `black (N,)` bool; and one a step: `repeated (N-1,)` bool, `sideways
    (N-1,)` the horizontal motion of the picture in widths, positive to the right."""

    black: np.ndarray
    repeated: np.ndarray
    sideways: np.ndarray


def look(episode: Episode) -> Pictures:
    """Read all frames of an episode once, a few at a time."""
    import cv2

    window = cv2.createHanningWindow(SIZE, cv2.CV_32F)
    black, repeated, sideways = [], [], []
    before: tuple[np.ndarray, np.ndarray] | None = None
    for frame in chain.from_iterable(episode.batches()):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        black.append(bool(grey.max() <= 8 * BLACK and grey.mean() < BLACK))
        if before is not None:
            repeated.append(np.array_equal(before[0], frame))
            sideways.append(_shift(before[1], small, window) / SIZE[0])
        before = frame, small
    return Pictures(np.array(black), np.array(repeated, bool), np.array(sideways, np.float64))


def picture_findings(episode: Episode, seen: Pictures) -> Iterator[Finding]:
    """Black frames, and frames that repeat while the actions move."""
    if seen.black.any():
        first = f"the first is frame {int(np.argmax(seen.black))}"
        text = f"black frames: {int(seen.black.sum())} of {len(seen.black)}, {first}"
        yield Finding("warning", "black", episode.name, text)
    size = np.abs(episode.actions).sum(1)
    moving = size > MOVING * max(float(np.quantile(size, 0.9)), 1e-9)
    frozen = seen.repeated & moving & ~seen.black[1:]
    longest, start = _longest_run(frozen)
    if longest >= LONG:
        text = (
            f"{counted(int(frozen.sum()), 'frame repeats', 'frames repeat')} the one before "
            f"although the actions move; frames {start} to {start + longest} are one picture"
        )
        yield Finding("warning", "repeated", episode.name, text)


def _shift(before: np.ndarray, after: np.ndarray, window: np.ndarray) -> float:
    """Horizontal motion in pixels, by phase correlation."""
    import cv2

    if before.std() < 1 or after.std() < 1:
        return 0.0
    (x, _), _ = cv2.phaseCorrelate(before, after, window)
    return float(np.clip(x, -SIZE[0] / 4, SIZE[0] / 4))


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Length and start of the longest stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    if not len(edges):
        return 0, 0
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    best = int(lengths.argmax())
    return int(lengths[best]), int(starts[best])
