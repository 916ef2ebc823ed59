"""Checks of the true video's own tracks: doubtful structures, and the tracker's ceiling."""

import numpy as np

from egowm.scs.score import MIN_AREA, Overlap, mean_defined, overlap
from egowm.scs.trackers.base import Tracker, Tracks

MIN_CYCLE = 0.5  # IoU of a structure followed forth and back; below it its track is doubtful


def cycle_iou(
    tracker: Tracker, frames: np.ndarray, tracks: Tracks, min_area: float = MIN_AREA
) -> np.ndarray:
    """IoU (O,) of each structure's mask in frame 0 with itself, followed to frame L and back.

    L is the last frame before the structure first leaves the view (or is lost), so that a fast
    turn, which loses half of them rightly, casts no doubt. A structure that is gone in frame 1
    cannot be judged and has NaN. frames: (T+1, H, W, 3) of the truth; tracks: of the same video.
    """
    last = last_seen(tracker, tracks, min_area)
    found = np.full(tracks.masks.shape[1], np.nan)
    for end in np.unique(last[last > 0]):
        chosen = np.flatnonzero(last == end)
        back = tracker.track(frames[end::-1].copy(), tracks.masks[end, chosen].copy())
        first, again = tracks.masks[0, chosen], back.masks[end]
        union = (first | again).sum((1, 2))
        found[chosen] = (first & again).sum((1, 2)) / np.maximum(union, 1)
    return found


def last_seen(tracker: Tracker, tracks: Tracks, min_area: float = MIN_AREA) -> np.ndarray:
    """(O,) the frame before each structure first is empty or without evidence."""
    area = tracks.masks.mean((2, 3))
    there = (area >= max(min_area, 1e-12)) & (tracks.evidence >= tracker.min_evidence)
    there[0] = True
    return there.cumprod(axis=0).sum(axis=0) - 1


def track_again(
    tracker: Tracker, frames: np.ndarray, tracks: Tracks, min_area: float = MIN_AREA
) -> Overlap | None:
    """The truth against itself, tracked anew from its own masks in the middle, forth and back.

    What a perfect prediction could lose to the tracker alone. Structures that are out of view in
    the middle are left out, and the middle frame, which is 100 by construction, and frame 0 are not
    scored. None where no structure is in view, or nothing is left to score.
    """
    middle = (len(frames) - 1) // 2
    seen = np.flatnonzero(tracks.masks[middle].mean((1, 2)) >= max(min_area, 1e-12))
    if not len(seen) or len(frames) < 3:
        return None
    masks = tracks.masks[middle, seen].copy()
    ahead = tracker.track(frames[middle:].copy(), masks)
    kept = np.arange(len(frames)) != middle
    kept[0] = True
    found = tracks.masks[:, seen].copy()
    found[middle:] = ahead.masks
    if middle:
        back = tracker.track(frames[middle::-1].copy(), masks)
        found[: middle + 1] = back.masks[::-1]
    return overlap(found[kept], tracks.masks[:, seen][kept], min_area=min_area)


def terciles(motion: np.ndarray, *rows: np.ndarray) -> list[tuple[np.ndarray, list[float]]]:
    """Clips in three groups of rising true motion: their numbers, and the mean of each of `rows`.

    motion: (N,), NaN for clips left out. Fewer than three clips give no groups.
    """
    order = np.argsort(motion, kind="stable")
    order = order[~np.isnan(motion[order])]
    if len(order) < 3:
        return []
    groups = np.array_split(order, 3)
    return [(group, [float(mean_defined(row[group])) for row in rows]) for group in groups]
