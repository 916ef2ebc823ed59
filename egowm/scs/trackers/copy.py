"""The reference row "copy": nothing ever moves."""

import numpy as np

from egowm.scs.trackers.base import Tracker, Tracks, check_input


class CopyTracker(Tracker):
    """Repeats the masks of frame 0."""

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
