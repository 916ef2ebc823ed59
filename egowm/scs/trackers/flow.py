"""Masks carried by dense optical flow: no weights, any video, and blind to what vanishes."""

from typing import Any, NamedTuple

import numpy as np

from egowm.scs.trackers.base import Tracker, Tracks, check_input

_MIN_SIDE = 12  # pixels; the flow needs that much


class FlowTracker(Tracker):
    """Warps soft masks from frame to frame by DIS optical flow (Kroeger et al. 2016).

    A pixel stays in a mask only if forward and backward flow agree and its colour is still there.
    Evidence is the smallest share of a mask that stayed, over all frames so far.

    consistency: pixels of disagreement allowed, besides a tenth of the motion. photometric: grey
    levels of 255 by which a colour may change in one frame. min_evidence: a structure of which
    less stayed in any one step is lost from then on.
    """

    name = "flow"
    warning = (
        "flow is blind to structures that vanish or are replaced: whatever appears in their place "
        "is followed instead, and the score comes out too high. Do not compare methods by it."
    )

    def __init__(
        self, consistency: float = 1.5, photometric: float = 40.0, min_evidence: float = 0.25
    ) -> None:
        self.consistency = consistency
        self.photometric = photometric
        self.min_evidence = min_evidence

    def options(self) -> dict[str, float | int | str]:
        """The flow's preset and the three thresholds."""
        return {
            "flow": "DIS medium, full resolution",
            "consistency": self.consistency,
            "photometric": self.photometric,
            "min_evidence": self.min_evidence,
        }

    def track(self, frames: np.ndarray, masks: np.ndarray) -> Tracks:
        """Masks (T+1, O, H, W) and evidence in [0, 1]; an object out of view keeps its last."""
        import cv2

        check_input(frames, masks)
        if min(frames.shape[1:3]) < _MIN_SIDE:
            raise ValueError(f"Expected frames of {_MIN_SIDE} pixels or more, got {frames.shape}.")
        flow = dense_flow()
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        soft, evidence = masks.astype(np.float32), np.ones(len(masks), np.float32)
        found, trust = [masks], [evidence]
        for t in range(1, len(frames)):
            back = flow.calc(grey[t], grey[t - 1], None)
            ahead = flow.calc(grey[t - 1], grey[t], None)
            step = _Step(back, ahead, frames[t - 1], frames[t])
            stays = self._stays(step)
            soft, share = _carry(soft, step, stays)
            evidence = np.minimum(evidence, share)
            found.append(soft > 0.5)
            trust.append(evidence)
        return Tracks(np.stack(found), np.stack(trust))

    def _stays(self, step: "_Step") -> np.ndarray:
        """(H, W) bool: both flows agree there, and the colour is the one that was carried."""
        returned = _sample(step.ahead, step.back)
        disagreement = np.square(returned + step.back).sum(-1)
        motion = np.square(returned).sum(-1) + np.square(step.back).sum(-1)
        colour = _sample(step.before.astype(np.float32), step.back)
        change = np.abs(colour - step.after).mean(-1)
        agrees = disagreement < 0.01 * motion + self.consistency**2
        return agrees & (change < self.photometric)


class _Step(NamedTuple):
    """From one frame to the next."""

    back: np.ndarray  # (H, W, 2) pixels, from the new frame to the old
    ahead: np.ndarray  # (H, W, 2) pixels, from the old frame to the new
    before: np.ndarray  # (H, W, 3) uint8
    after: np.ndarray  # (H, W, 3) uint8


def dense_flow() -> Any:
    """The flow of OpenCV; untyped, because its stubs refuse None for "no initial flow"."""
    import cv2

    new = hasattr(cv2, "DISOpticalFlow_PRESET_MEDIUM")  # OpenCV 5; 4 spells it in capitals
    name = "DISOpticalFlow_PRESET_MEDIUM" if new else "DISOPTICAL_FLOW_PRESET_MEDIUM"
    flow = cv2.DISOpticalFlow.create(getattr(cv2, name))
    flow.setFinestScale(0)  # the preset stops at half resolution: 4 to 7 IoU worse at 64 to 128 px
    return flow


def _carry(soft: np.ndarray, step: _Step, stays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks (O, H, W) in the new frame, and the share (O,) of each that stays (1 if none came)."""
    came = np.stack([_sample(mask, step.back, outside=0.0) for mask in soft])
    kept = came * stays
    total = came.sum((1, 2))
    share = np.where(total < 1, 1.0, kept.sum((1, 2)) / np.maximum(total, 1))
    return kept, share.astype(np.float32)


def _sample(image: np.ndarray, flow: np.ndarray, outside: float | None = None) -> np.ndarray:
    """`image` (H, W) or (H, W, C) at the places that `flow` points to, linearly.

    outside: what lies beyond the border; None repeats the edge.
    """
    import cv2

    rows, columns = np.indices(flow.shape[:2], dtype=np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    border = cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT
    value = 0.0 if outside is None else outside
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border, borderValue=value)
