"""What a metric is: it takes clip after clip of uint8 frames and gives values by column."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from egowm.actions import ActionSpec
from egowm.checks import ArgumentError, check_alike, check_shape, shown
from egowm.scs.score import mean_defined


class Unavailable(ValueError):
    """A metric whose package, weights or size of frames is missing; the message says what to do."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        key: Its name in eval.json.
        label: Its heading.
        meaning: One sentence for those who read the table.
        digits: Decimals that are shown; what is smaller is not called a difference.
        higher_is_better: False where 0 is the best.
    """

    key: str
    label: str
    meaning: str
    digits: int
    higher_is_better: bool


class Sample(NamedTuple):
    """One clip of one row, as metrics get it.

    Args:
        name: Of the clip.
        context: (H, W, 3) uint8, the frame that truth and prediction share.
        pred: (T, H, W, 3) uint8, the frames after it.
        truth: As `pred`.
        told: (T, A), the actions that the model was told, in physical units; the true ones in
            reference rows.
        actions: (T, A), the true ones.
        meaning: Of these actions.
    """

    name: str
    context: np.ndarray
    pred: np.ndarray
    truth: np.ndarray
    told: np.ndarray
    actions: np.ndarray
    meaning: ActionSpec


@dataclass(frozen=True, eq=False)
class Values:
    """The values of one column in one row.

    Args:
        frames: (N, T) at each frame, NaN where undefined; N is 1 for a value of all clips at once.
        upto: (N, T) over frames 1 to k; None takes the mean of the values at these frames.
        is_per_clip: Whether the first axis is clips, which an interval can be drawn over.
    """

    frames: np.ndarray
    upto: np.ndarray | None = None
    is_per_clip: bool = True

    def at(self, k: int, cumulative: bool) -> np.ndarray:
        """(N,) at frame k, counted from 1, or over frames 1 to k."""
        if not cumulative:
            return self.frames[:, k - 1]
        if self.upto is not None:
            return self.upto[:, k - 1]
        return mean_defined(self.frames[:, :k], axis=1)


class Metric(ABC):
    """Takes the clips of one row with `add`, then gives the values with `compute` and starts anew.

    Made by `Metric(weights, device)`, which raises `Unavailable`; weights: the folder of
    `--weights` (or of `--encoder`), or None.
    """

    columns: ClassVar[tuple[Column, ...]]
    least_side: ClassVar[int] = 1  # pixels of a frame's height and width

    @abstractmethod
    def add(self, sample: Sample) -> None:
        """Take one clip."""

    @abstractmethod
    def compute(self, reads: Mapping[int, str], cumulative: bool) -> dict[str, Values]:
        """Values of the clips since the last call, by the key of each column.

        reads, cumulative: of the protocol, for metrics of all clips at once.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """What two tables must share beside the columns' names, such as the sha256 of weights."""
        return {}


class ClipMetric(Metric):
    """A metric that judges each clip by itself; `clip` is all that there is to write."""

    def __init__(self) -> None:
        self._rows: dict[str, list[np.ndarray]] = {}

    @abstractmethod
    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        """(T,) values at each frame, NaN where undefined, by the key of each column."""

    def add(self, sample: Sample) -> None:
        check_frames("pred", sample.pred)
        check_frames("truth", sample.truth)
        check_alike("pred", sample.pred, "truth", sample.truth)
        for key, values in self.clip(sample).items():
            self._rows.setdefault(key, []).append(values)

    def compute(self, reads: Mapping[int, str], cumulative: bool) -> dict[str, Values]:
        rows, self._rows = self._rows, {}
        return {key: Values(np.stack(values)) for key, values in rows.items()}


def check_frames(name: str, frames: Any) -> None:
    """Refuse all but uint8 frames (T, H, W, 3): of [0, 1], [-1, 1] and 0 to 255, a float array does
    not tell which it is, and a metric that is fed the wrong one gives a better value, not an error.

    >>> check_frames("pred", np.zeros((2, 8, 8, 3)))
    Traceback (most recent call last):
    egowm.checks.ArgumentError: Expected pred (T, H, W, 3) in uint8, got an array (2, 8, 8, 3) of \
float64: convert frames in [0, 1] with egowm.pixels.to_uint8.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        raise ArgumentError(
            f"Expected {name} (T, H, W, 3) in uint8, got {shown(frames)}: convert frames in [0, 1] "
            f"with egowm.pixels.to_uint8."
        )
    check_shape(name, frames, "T H W 3")
