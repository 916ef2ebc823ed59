"""The Structural Consistency Score of masks: pure functions on boolean arrays.

`SCS = 100/(O T) * sum over objects and frames of IoU(pred, target)` (EgoWM). Frame 0 is shared by
both videos and never scored. IoU lies in [0, 1]; everything called a score lies in 0..100. NaN
means undefined: no frame to judge.
"""

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from egowm.checks import check_between, checked, counted, shown

if TYPE_CHECKING:
    from torch import Tensor

HORIZONS = (2, 4, 8, 16)
MIN_AREA = 0.001
EmptyRule = Literal["left_out", "davis", "visible"]


class Case(IntEnum):
    """What there is to compare for one object in one frame."""

    BOTH_EMPTY = 0
    PRED_EMPTY = 1
    TARGET_EMPTY = 2
    BOTH_PRESENT = 3


class EmptyShares(NamedTuple):
    """Shares, in [0, 1], of the four cases over all objects and frames."""

    both_empty: float
    pred_empty: float
    target_empty: float
    both_present: float


class Overlap(NamedTuple):
    """Pixel counts of one clip, from which every score follows. Areas count as 0 if too small."""

    intersection: np.ndarray  # (O, T) int64
    pred: np.ndarray  # (O, T) int64, area
    target: np.ndarray  # (O, T) int64, area
    lost: np.ndarray  # (O, T) bool: the prediction's track has no evidence
    covered: np.ndarray  # (T,) int64: pixels inside any target mask
    num_pixels: int  # of a frame

    @property
    def case(self) -> np.ndarray:
        """(O, T) int, values of `Case`."""
        return (self.pred > 0) * 2 + (self.target > 0) * 1

    def iou(self, empty: EmptyRule = "left_out") -> np.ndarray:
        """IoU (O, T) in [0, 1], NaN where undefined.

        empty: frames where both masks are empty are undefined ("left_out") or perfect ("davis",
        as DAVIS and SA-V count); "visible" judges frames where the target is not empty. Frames
        without evidence are 0.
        """
        union = self.pred + self.target - self.intersection
        both_empty = 1.0 if empty == "davis" else np.nan
        iou = np.full(union.shape, both_empty)
        np.divide(self.intersection, union, out=iou, where=union > 0)
        iou[self.lost] = 0.0
        if empty == "visible":
            iou[self.target == 0] = np.nan
        return iou


class Summary(NamedTuple):
    """Scores of a data set, each averaged frame -> object -> clip -> data set."""

    scs: float
    scs_davis: float
    scs_visible: float
    pooled: float  # every defined frame of every object weighs the same
    empty_shares: EmptyShares
    scs_at: dict[int, float]  # mean over frames 1..k
    iou_at: dict[int, float]  # at frame k, 0..100
    coverage: dict[int, float]  # share of true frame k inside a scored structure, [0, 1]
    num_lost: int  # frames of objects without evidence
    object_counts: dict[int, int]  # scored objects in a video -> number of such videos
    clip_scs: np.ndarray  # (N,)


@checked
def scs(
    pred_masks: "np.ndarray | Tensor",
    target_masks: "np.ndarray | Tensor",
    *,
    empty: EmptyRule = "left_out",
    min_area: float = MIN_AREA,
    lost: "np.ndarray | Tensor | None" = None,
) -> float:
    """Structural Consistency Score of one clip, 0..100, or NaN if no frame can be judged.

    Args:
        pred_masks: (T+1, O, H, W) bool with the shared frame first, tensor or array.
        target_masks: The truth's, of the same shape.
        empty: Frames where both masks are empty are not counted ("left_out") or perfect ("davis",
            as DAVIS and SA-V count); "visible" judges frames where the target is not empty.
        min_area: Share of the frame, 0 to 1, below which a mask counts as empty, on both sides.
        lost: (T+1, O) bool, where the prediction's track has no evidence, which counts 0; nowhere
            by default.

    Raises:
        ValueError: Other shapes or types.

    >>> target = np.zeros((3, 1, 8, 8), bool)
    >>> target[:, :, :, :4] = True
    >>> pred = target.copy()
    >>> pred[2] = np.roll(target[2], 2, axis=-1)  # half of it is in the right place
    >>> round(scs(pred, target), 2)
    66.67
    """
    return clip_score(overlap(pred_masks, target_masks, min_area=min_area, lost=lost).iou(empty))


@checked
def overlap(
    pred_masks: "np.ndarray | Tensor",
    target_masks: "np.ndarray | Tensor",
    *,
    min_area: float = MIN_AREA,
    lost: "np.ndarray | Tensor | None" = None,
) -> Overlap:
    """Compare the masks of one clip, (T+1, O, H, W) bool, in frames 1..T.

    A mask below `min_area` (a share of the frame) counts as empty, on both sides. lost: (T+1, O)
    bool, where the prediction's track has no evidence. Raises ValueError for other shapes.
    """
    pred, target = _checked(pred_masks, "pred_masks"), _checked(target_masks, "target_masks")
    if pred.shape != target.shape:
        raise ValueError(f"Expected masks of one shape, got {pred.shape} and {target.shape}.")
    if lost is None:
        lost = np.zeros(pred.shape[:2], bool)
    lost = _array(lost)
    if lost.shape != pred.shape[:2] or lost.dtype != bool:
        raise ValueError(f"Expected lost (T+1, O) = {pred.shape[:2]} bool, got {shown(lost)}.")
    check_between("min_area", min_area, 0.0, 1.0)
    pred, target, num_pixels = pred[1:], target[1:], pred.shape[2] * pred.shape[3]
    pred_area, target_area = _area(pred), _area(target)
    intersection = _area(pred & target)
    small_pred, small_target = (a < min_area * num_pixels for a in (pred_area, target_area))
    intersection[small_pred | small_target] = 0
    pred_area[small_pred] = 0
    target_area[small_target] = 0
    covered = (target & ~small_target[..., None, None]).any(axis=1)
    return Overlap(
        intersection.T, pred_area.T, target_area.T, lost[1:].T, _area(covered), num_pixels
    )


def clip_score(iou: np.ndarray) -> float:
    """Score of one clip from its IoU (O, T): mean over frames, then over objects that have one."""
    return 100 * float(mean_defined(mean_defined(iou, axis=1)))


def mean_defined(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis), defined.sum(axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


@checked
def summarise(overlaps: Sequence[Overlap], clips: Sequence[int] | None = None) -> Summary:
    """Scores of a data set from its videos. One shorter than k does not enter those "at k".

    clips: the clip that each video predicts, counted from 0, where clips have several samples:
    they are averaged inside the clip. By default every video is a clip of its own.
    """
    ious = [video.iou() for video in overlaps]
    if clips is not None and not (
        len(clips) == len(ious) and all(0 <= clip < len(ious) for clip in clips)
    ):
        raise ValueError(
            f"Expected a clip for each of {counted(len(ious), 'video')}, counted from 0, "
            f"got {shown(clips)}."
        )
    owner = np.arange(len(ious)) if clips is None else np.asarray(clips, int)

    def score(found: Sequence[np.ndarray]) -> np.ndarray:
        return by_clip([clip_score(iou) for iou in found], owner)

    def at(start: int, k: int) -> float:
        return _mean(score([i[:, start:k] if i.shape[1] >= k else i[:, :0] for i in ious]))

    clip_scs = score(ious)
    shares = [video.covered / video.num_pixels for video in overlaps]
    scored = Counter(int((~np.isnan(iou)).any(axis=1).sum()) for iou in ious)
    covered = {k: [share[k - 1] for share in shares if len(share) >= k] for k in HORIZONS}
    return Summary(
        scs=_mean(clip_scs),
        scs_davis=_mean(score([video.iou("davis") for video in overlaps])),
        scs_visible=_mean(score([video.iou("visible") for video in overlaps])),
        pooled=100 * _mean(np.concatenate([np.empty(0), *(iou.ravel() for iou in ious)])),
        empty_shares=_empty_shares(overlaps),
        scs_at={k: at(0, k) for k in HORIZONS},
        iou_at={k: at(k - 1, k) for k in HORIZONS},
        coverage={k: _mean(covered[k]) for k in HORIZONS},
        num_lost=sum(int(video.lost.sum()) for video in overlaps),
        object_counts=dict(sorted(scored.items())),
        clip_scs=clip_scs,
    )


def by_clip(values: "Sequence[float] | np.ndarray", clips: np.ndarray) -> np.ndarray:
    """Mean of the defined values of each clip; clips: (len(values),), counted from 0."""
    found = np.asarray(values, float)
    count = int(clips.max()) + 1 if len(clips) else 0
    defined = ~np.isnan(found)
    total = np.bincount(clips[defined], weights=found[defined], minlength=count)
    number = np.bincount(clips[defined], minlength=count)
    return np.divide(total, number, out=np.full(count, np.nan), where=number > 0)


def _empty_shares(overlaps: Sequence[Overlap]) -> EmptyShares:
    cases = np.concatenate([np.empty(0, int), *(clip.case.ravel() for clip in overlaps)])
    if not cases.size:
        return EmptyShares(*[float("nan")] * 4)
    return EmptyShares(*(np.bincount(cases, minlength=4) / cases.size).tolist())


def _mean(values: "Sequence[float] | np.ndarray") -> float:
    return float(mean_defined(np.asarray(values, float)))


def _area(masks: np.ndarray) -> np.ndarray:
    return np.count_nonzero(masks, axis=(-2, -1)).astype(np.int64)


def _array(values: "np.ndarray | Tensor") -> np.ndarray:
    return values if isinstance(values, np.ndarray) else values.detach().cpu().numpy()


def _checked(masks: "np.ndarray | Tensor", name: str) -> np.ndarray:
    array = _array(masks)
    if array.dtype != bool or array.ndim != 4:
        raise ValueError(
            f"Expected {name} (T+1, O, H, W) bool, got {array.shape} {array.dtype}. "
            f"Compare ids or probabilities with a value first, for instance `masks > 0.5`."
        )
    if array.shape[0] < 2 or array.shape[1] < 1 or array.shape[2] * array.shape[3] < 1:
        raise ValueError(
            f"Expected {name} of at least 2 frames (the shared one first) and 1 object, "
            f"got {array.shape}."
        )
    return array
