"""What a tracker is: masks of the first frame in, masks of every frame out.

A new tracker is one file with a subclass of `Tracker`; `--tracker package.module.Class` finds it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

MIN_KNOWN = 0.5  # of `Tracker.knows`; below it a structure is left out


class Tracks(NamedTuple):
    """Where each object is in each frame, and how far that can be trusted."""

    masks: np.ndarray  # (T+1, O, H, W) bool
    evidence: np.ndarray  # (T+1, O) float32; the tracker's own scale


class Tracker(ABC):
    """Follows the structures of the first frame through a video.

    >>> class Still(Tracker):  # takes every structure to stay where it is
    ...     name = "still"
    ...
    ...     def track(self, frames, masks):
    ...         return Tracks(np.stack([masks] * len(frames)), np.ones((len(frames), len(masks))))
    >>> Still().track(np.zeros((5, 8, 8, 3), np.uint8), np.ones((2, 8, 8), bool)).masks.shape
    (5, 2, 8, 8)
    """

    name: str
    min_evidence: float = 0.0  # a frame with less has no evidence
    warning: str = ""  # what a reader of the score must know
    memory: bool = True  # frames depend on those before: tracks of the truth may go astray

    @abstractmethod
    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Follow the structures of frame 0 through a video.

        Args:
            frames: (T+1, H, W, 3) uint8 RGB.
            masks: (O, H, W) bool, of frame 0.

        Returns:
            Masks (T+1, O, H, W) bool and evidence (T+1, O).
        """

    def track_many(self, videos: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[Tracks]:
        """As `track` for each pair; for a tracker that is faster on many videos at once.

        Args:
            videos: Frames of each, (T+1, H, W, 3) uint8 RGB.
            masks: Of frame 0 of each, (O, H, W) bool.
        """
        return [self.track(frames, found) for frames, found in zip(videos, masks, strict=True)]

    def knows(self, frame: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """How well it knows each structure before anything is tracked, (O,) in [0, 1]; below
        `MIN_KNOWN` the structure is left out. 1 for a tracker that begins with the masks as given.

        Args:
            frame: Frame 0, (H, W, 3) uint8 RGB.
            masks: (O, H, W) bool, of this frame.
        """
        return np.ones(len(masks))

    def options(self) -> dict[str, float | int | str]:
        """Whatever changes the result; it enters the protocol's fingerprint."""
        return {}

    def environment(self) -> dict[str, str | None]:
        """Where and on what it ran: recorded, no part of the fingerprint."""
        return {}


class MaskReader(ABC):
    """Takes the masks of both videos from disk: no frame is read."""

    name: str
    warning: str = ""

    @abstractmethod
    def folder(self, clip: Path) -> Path:
        """Where the masks of the clip at this path lie; frame 0 included."""


def check_input(frames: np.ndarray, masks: np.ndarray) -> None:
    """Raise ValueError unless `frames` and `masks` have the shapes that `Tracker.track` names."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(
            f"Expected frames (T+1, H, W, 3) uint8, got {frames.shape} {frames.dtype}."
        )
    if masks.ndim != 3 or masks.dtype != bool or masks.shape[1:] != frames.shape[1:3]:
        raise ValueError(
            f"Expected masks (O, {frames.shape[1]}, {frames.shape[2]}) bool as the frames are, "
            f"got {masks.shape} {masks.dtype}."
        )
    empty = [k + 1 for k, mask in enumerate(masks) if not mask.any()]
    if empty:
        raise ValueError(
            f"Expected every object to be visible in frame 0, but the masks of {empty} (counted "
            f"from 1) are empty. Remove them from the annotation."
        )
