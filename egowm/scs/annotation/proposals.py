"""From everything that a segmenter sees to the few structures that are worth scoring."""

import numpy as np

from egowm.scs.annotation.prompts import Prompt, Segmenter
from egowm.scs.trackers.base import Tracks

AREA = (0.01, 0.6)  # share of the frame
MAX_STRUCTURES = 8
MAX_SHARED = 0.7  # IoU above which two proposals are the same thing
_GRID = 16  # points along each side
_STEP = 4  # pixels between the samples of the flow
_INLIER = 2.0  # pixels from the epipolar line, or from where the homography says
_PLANAR = 0.8  # a homography that explains this much of the rest is the camera's whole motion
_MIN_MOTION = 0.5  # pixels, median: below it nothing can be said


def propose(segmenter: Segmenter, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks (P, H, W) and their quality (P,) of a grid of points in `frame` (H, W, 3)."""
    height, width = frame.shape[:2]
    prompts = [
        Prompt(k, "", np.array([[(x + 0.5) / _GRID * width, (y + 0.5) / _GRID * height]]),
               np.array([1]), None, (height, width))
        for k, (y, x) in enumerate(np.ndindex(_GRID, _GRID), 1)
    ]  # fmt: skip
    return segmenter.segment(frame, prompts)


def choose(masks: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The largest of the best (O, H, W): 1 to 60% of the frame each, without overlap, at most 8.

    Where two overlap, the better one keeps the pixels. Also which of `masks (P, H, W)` these are.
    """
    kept: list[np.ndarray] = []
    which: list[int] = []
    taken = np.zeros(masks.shape[1:], bool)
    for k in np.argsort(-quality, kind="stable"):
        whole = masks[k]
        if not AREA[0] <= whole.mean() <= AREA[1] or any(_iou(whole, m) > MAX_SHARED for m in kept):
            continue
        rest = whole & ~taken
        if rest.sum() >= max(AREA[0] * whole.size, whole.sum() / 2):
            kept.append(rest)
            which.append(int(k))
            taken |= rest
    order = np.argsort([-int(mask.sum()) for mask in kept], kind="stable")[:MAX_STRUCTURES]
    chosen = np.array([kept[k] for k in order], bool).reshape(-1, *masks.shape[1:])
    return chosen, [which[k] for k in order]


def static(frames: np.ndarray, tracks: Tracks) -> np.ndarray:
    """(O,) bool: seen in half of the frames, and moving as the camera's own motion allows.

    Judged on the true video (T+1, H, W, 3) alone, between neighbouring frames: dense flow, then a
    fundamental matrix by RANSAC (a homography where it explains as much: pure rotation). A
    structure of which, in most frames, less than half agrees moves by itself.
    """
    visible = np.asarray(tracks.masks.any((2, 3)))
    seen = visible[1:].mean(0) >= 0.5
    agreed = np.array([_agreement(frames[t], frames[t + 1], tracks.masks[t])
                       for t in range(len(frames) - 1)])  # fmt: skip
    judged = ~np.isnan(agreed)
    against = ((agreed < 0.5) & judged).sum(0)
    return seen & (against <= judged.sum(0) / 2)


def _agreement(before: np.ndarray, after: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share (O,) of each mask's flow that the camera's motion explains; NaN where unknown."""
    import cv2

    from egowm.scs.trackers.flow import dense_flow

    unknown = np.full(len(masks), np.nan)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
    flow = dense_flow().calc(grey[0], grey[1], None)
    rows, columns = np.mgrid[0 : grey[0].shape[0] : _STEP, 0 : grey[0].shape[1] : _STEP]
    rows, columns = rows.ravel(), columns.ravel()
    start = np.stack([columns, rows], 1).astype(np.float32)
    end = start + flow[rows, columns]
    if np.median(np.linalg.norm(end - start, axis=1)) < _MIN_MOTION or len(start) < 16:
        return unknown
    _, lines = cv2.findFundamentalMat(start, end, cv2.FM_RANSAC, _INLIER, 0.99)
    _, plane = cv2.findHomography(start, end, cv2.RANSAC, _INLIER)
    if lines is None or plane is None or lines.size != len(start):
        return unknown
    rotation = plane.sum() >= _PLANAR * lines.sum()
    inlier = (plane if rotation else lines).ravel() > 0
    for k, mask in enumerate(masks[:, rows, columns]):
        if mask.sum() >= 4:
            unknown[k] = inlier[mask].mean()
    return unknown


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
