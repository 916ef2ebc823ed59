"""Trackers that follow nothing: masks repeated, masks made elsewhere, a simulator's own."""

from pathlib import Path

import numpy as np

from egowm.scs.trackers.base import MaskReader, Tracker, Tracks, check_input


class CopyTracker(Tracker):
    """The reference row "copy": repeats the masks of frame 0, so nothing ever moves."""

    name = "copy"
    memory = False
    warning = "copy looks at no frame but the first, so any two videos of equal length score 100."

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """`masks (O, H, W)` in all T+1 frames, always with evidence 1."""
        check_input(frames, masks)
        return repeat(masks, len(frames))


def repeat(masks: np.ndarray, num_frames: int) -> Tracks:
    """`masks (O, H, W)` in `num_frames` frames, as a view."""
    return Tracks(
        np.broadcast_to(masks, (num_frames, *masks.shape)),
        np.ones((num_frames, len(masks)), np.float32),
    )


class SavedMasks(MaskReader):
    """Masks made elsewhere: the clips are folders of palette PNG or npz, frame 0 included."""

    name = "masks"

    def folder(self, clip: Path) -> Path:
        """The clip itself."""
        return clip


class OracleMasks(MaskReader):
    """Masks that a simulator wrote beside the frames: `<clip>/masks/00000.png` and on.

    Exact, for the simulator's own rollouts; never for a generated video.
    """

    name = "oracle"

    def folder(self, clip: Path) -> Path:
        """The folder `masks` inside the clip's folder."""
        return clip / "masks"
