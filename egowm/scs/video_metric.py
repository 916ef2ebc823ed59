"""The Structural Consistency Score of videos in memory: a function, and a torchmetrics metric.

Both follow the structures of frame 0 by a tracker, as `egowm-scs score` does with files, and give
the same number.
"""

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_shape, checked, shown
from egowm.pixels import check_unit
from egowm.scs.masks import ObjectMasks
from egowm.scs.metric import SCS
from egowm.scs.score import MIN_AREA, Overlap, clip_score
from egowm.scs.trackers.base import Tracker
from egowm.scs.tracking import compare, track_frames


@checked
def video_scs(
    preds: Tensor | np.ndarray,
    target: Tensor | np.ndarray,
    masks: Tensor | np.ndarray,
    *,
    tracker: str | Tracker,
    min_area: float = MIN_AREA,
) -> float:
    """Structural Consistency Score of one predicted video, 0..100; NaN if no frame can be judged.

    Args:
        preds: Frames of the prediction, the shared one first: a tensor (T+1, 3, H, W), or
            (1, T+1, 3, H, W), in [0, 1] or uint8; or an array (T+1, H, W, 3) in uint8.
        target: The truth's, of the same shape.
        masks: (O, H, W) bool, the structures of frame 0.
        tracker: A short name ("palette", "flow"), a class path or an object.
        min_area: Share of the frame, 0 to 1, below which a mask counts as empty.

    Raises:
        ValueError: Other shapes, types or ranges, or a tracker that reads masks from disk.

    >>> red = np.zeros((3, 32, 32, 3), np.uint8)  # a red wall that stands still
    >>> red[:, :, 8:24] = 200, 20, 20
    >>> aside = np.concatenate([red[:1], np.roll(red[1:], 8, axis=2)])  # predicted half aside
    >>> round(video_scs(aside, red, red[:1, ..., 0] > 100, tracker="palette"), 2)
    33.33
    """
    found = _overlap(preds, target, masks, _tracker(tracker), min_area)
    return clip_score(found.iou())


@checked
class VideoSCS(SCS):
    """As `SCS`, from videos in place of masks: its tracker follows the structures of frame 0.

    `compute` gives a dict of scalars, `plot` draws them.

    Args:
        tracker: A short name ("palette", "flow"), a class path or an object.
        min_area: Share of the frame, 0 to 1, below which a mask counts as empty.

    >>> metric = VideoSCS(tracker="copy")  # which takes all structures to stand still
    >>> video = torch.rand(3, 3, 16, 16)
    >>> metric.update(video, video, torch.ones(1, 16, 16, dtype=torch.bool))
    >>> metric.compute()["scs"]
    tensor(100.)
    """

    def __init__(self, tracker: str | Tracker, min_area: float = MIN_AREA) -> None:
        super().__init__(min_area)
        self.tracker = _tracker(tracker)

    def update(  # type: ignore[override]
        self,
        preds: Tensor | np.ndarray,
        target: Tensor | np.ndarray,
        masks: Tensor | np.ndarray,
        clip: int | Tensor | None = None,
    ) -> None:
        """Add one clip; clips may differ in T, O and size.

        Args:
            preds: Frames of the prediction, the shared one first: a tensor (T+1, 3, H, W), or
                (1, T+1, 3, H, W), in [0, 1] or uint8; or an array (T+1, H, W, 3) in uint8.
            target: The truth's, of the same shape.
            masks: (O, H, W) bool, the structures of frame 0.
            clip: Its number in the data set, as in `SCS.update`.
        """
        self.add(_overlap(preds, target, masks, self.tracker, self.min_area), clip)


def _tracker(tracker: str | Tracker) -> Tracker:
    from egowm.scs.trackers import load_tracker

    found = load_tracker(tracker) if isinstance(tracker, str) else tracker
    if not isinstance(found, Tracker):
        raise ValueError(f"Expected a tracker that follows frames, {tracker!r} reads masks.")
    return found


def _overlap(
    preds: Tensor | np.ndarray,
    target: Tensor | np.ndarray,
    masks: Tensor | np.ndarray,
    tracker: Tracker,
    min_area: float,
) -> Overlap:
    made, truth = _frames("preds", preds), _frames("target", target)
    if made.shape != truth.shape or len(truth) < 2:
        raise ValueError(
            f"Expected videos of one shape, of 2 frames or more (the shared one first), got "
            f"{made.shape} and {truth.shape}, as (T+1, H, W, 3)."
        )
    height, width = truth.shape[1:3]
    drawn = masks if isinstance(masks, np.ndarray) else masks.detach().cpu().numpy()
    check_shape("masks", drawn, "O H W", H=height, W=width)
    if drawn.dtype != bool or not drawn.any((1, 2)).all():
        raise ValueError(
            f"Expected masks of bool, each with a pixel of its structure, got {shown(masks)}."
        )
    ids = tuple(range(1, len(drawn) + 1))
    annotation = ObjectMasks(ids, drawn[None], np.zeros((1, height, width), bool))
    known, (found,) = track_frames(tracker, truth, [made], annotation, min_area)
    return compare(found.tracks, known, tracker, min_area)


def _frames(name: str, video: Tensor | np.ndarray) -> np.ndarray:
    """Frames (T+1, H, W, 3) uint8 of their own."""
    if isinstance(video, np.ndarray):
        check_shape(name, video, "T+1 H W 3")
        if video.dtype != np.uint8:
            raise ValueError(f"Expected {name} of uint8, as an array, got {shown(video)}.")
        return video.copy()
    frames = video[0] if video.ndim == 5 and len(video) == 1 else video
    check_shape(name, frames, "T+1 3 H W")
    check_unit(name, frames)
    if frames.dtype != torch.uint8:
        frames = frames.float().mul(255).round().byte()
    return np.ascontiguousarray(frames.detach().cpu().numpy().transpose(0, 2, 3, 1))
