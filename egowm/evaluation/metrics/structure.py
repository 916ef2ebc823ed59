"""The Structural Consistency Score as a column: the values of clips from one scoring."""

from collections.abc import Sequence

import numpy as np

from egowm.evaluation.metrics.metric import Column, Values
from egowm.scs.result import Result
from egowm.scs.score import clip_score, mean_defined

COLUMN = Column(
    "scs",
    "SCS",
    "Structural Consistency Score, 0 to 100: overlap of walls and furniture with the truth",
    1,
    True,
)


def of_prediction(result: Result, names: Sequence[str]) -> Values:
    """The score of each clip, in the order of `names`."""
    ious = {clip.name: clip.overlap.iou() for clip in result.clips}
    return _values([ious[name] for name in names])


def of_copy(result: Result, names: Sequence[str]) -> Values:
    """That of the masks of the first frame, repeated."""
    ious = {clip.name: clip.copy_iou for clip in result.clips}
    found = [iou for name in names if (iou := ious[name]) is not None]
    assert len(found) == len(names), "scored in this process"
    return _values(found)


def _values(ious: Sequence[np.ndarray]) -> Values:
    """From IoU (O, T) of each clip. Objects are averaged after frames, as the score does it."""
    frames = np.stack([100 * mean_defined(iou, axis=0) for iou in ious])
    upto = [[clip_score(iou[:, :k]) for k in range(1, iou.shape[1] + 1)] for iou in ious]
    return Values(frames, np.array(upto))
