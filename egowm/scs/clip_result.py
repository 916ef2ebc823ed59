"""What is known of one clip after scoring, and how scs.json says it.

Beside the score, and never part of it, stands how a structure went astray: too little motion or
the wrong way, drift, and ragged outlines. NaN is undefined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from egowm.scs.score import EmptyRule, Overlap, clip_score, mean_defined

MIN_TRAVEL = 0.02  # of the diagonal: below it a motion has no direction
_REACH = 0.008  # of the diagonal: how far apart two outlines still agree, as DAVIS has it


class Geometry(NamedTuple):
    """One video of a clip, per object and frame 1..T."""

    centroid_error: np.ndarray  # (O, T) distance of the centroids, percent of the diagonal
    direction: np.ndarray  # (O, T) cosine between both motions since frame 0
    travel: np.ndarray  # (O, T) the predicted motion's length over the true one's
    boundary: np.ndarray  # (O, T) DAVIS' F of the outlines, percent


class Sample(NamedTuple):
    """One predicted video of a clip."""

    overlap: Overlap
    evidence: np.ndarray  # (O, T)
    geometry: Geometry


class Doubtful(NamedTuple):
    """A structure that is left out, because the tracker does not know it in frame 0, or its track
    of the truth goes astray."""

    id: int
    cycle_iou: float  # [0, 1]
    known: float  # [0, 1], what the tracker's `knows` says
    motion: float  # 100 minus the score of a copy of its mask in frame 0


@dataclass(frozen=True, eq=False)
class ClipResult:
    """One clip of the prediction; `copy` is the score of its first frame repeated."""

    name: str
    trajectory: str | None  # the recording it was cut from, if known
    ids: tuple[int, ...]
    samples: tuple[Sample, ...]  # one, unless the model was asked several times
    copy: float
    doubtful: tuple[Doubtful, ...] = ()
    copy_iou: np.ndarray | None = None  # (O, T) of the copy

    @property
    def overlap(self) -> Overlap:
        """Of the first sample."""
        return self.samples[0].overlap

    def score(self, empty: EmptyRule = "left_out") -> float:
        """Mean over samples."""
        values = [clip_score(sample.overlap.iou(empty)) for sample in self.samples]
        return float(mean_defined(np.array(values)))

    def to_json(self) -> dict[str, Any]:
        """Its scores; of several samples, each one's objects lie in `samples`."""
        record = {
            "name": self.name,
            "trajectory": self.trajectory,
            "num_frames": self.overlap.pred.shape[1],
            "num_samples": len(self.samples),
            "scs": number(self.score()),
            "scs_davis": number(self.score("davis")),
            "scs_visible": number(self.score("visible")),
            "copy": number(self.copy),
            "coverage": numbers(self.overlap.covered / self.overlap.num_pixels),
            "objects": self._objects(self.samples),
            "doubtful": [
                {k: number(v) if k != "id" else v for k, v in found._asdict().items()}
                for found in self.doubtful
            ],
        }
        if len(self.samples) > 1:
            record["samples"] = [
                {"scs": number(clip_score(s.overlap.iou())), "objects": self._objects([s])}
                for s in self.samples
            ]
        return record

    def _objects(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Per object and frame: IoU averaged over samples (null: undefined), case and evidence of
        the first."""
        ious = np.stack([sample.overlap.iou() for sample in samples])
        iou, first = mean_defined(ious, axis=0), samples[0]
        return [
            {
                "id": object_id,
                "scs": number(float(mean_defined(100 * mean_defined(ious[:, k], axis=1)))),
                "iou": numbers(100 * iou[k]),
                "case": first.overlap.case[k].tolist(),
                "lost": int(first.overlap.lost[k].sum()),
                "evidence": numbers(first.evidence[k]),
            }
            for k, object_id in enumerate(self.ids)
        ]


def numbers(values: np.ndarray) -> list[float | None]:
    """As `number`, of a vector."""
    return [number(value) for value in values.tolist()]


def number(value: float | None) -> float | None:
    """JSON has no NaN; four decimals are more than a score means."""
    return None if value is None or np.isnan(value) else round(value, 4)


class Remarks(NamedTuple):
    """Means over frames, objects, clips; `drift` is IoU points lost from first to last quarter."""

    centroid_error: float
    direction: float
    travel: float
    boundary_f: float
    drift: float


def geometry(pred: np.ndarray, target: np.ndarray, overlap: Overlap) -> Geometry:
    """From masks (T+1, O, H, W) bool, where `overlap` found both present."""
    both = (overlap.pred > 0) & (overlap.target > 0)
    diagonal = float(np.hypot(*target.shape[2:]))
    start, places, wanted = _centroids(target[0]), _centroids(pred[1:]), _centroids(target[1:])
    moved, should = places - start, wanted - start
    lengths, due = np.linalg.norm(moved, axis=-1), np.linalg.norm(should, axis=-1)
    moves = both.T & (due >= MIN_TRAVEL * diagonal)
    none = np.full(lengths.shape, np.nan)
    travel = np.divide(lengths, due, out=none.copy(), where=moves)
    dot, product = (moved * should).sum(-1), lengths * due
    direction = np.divide(dot, product, out=none.copy(), where=moves & (lengths > 0))
    error = np.where(both.T, np.linalg.norm(places - wanted, axis=-1) * 100 / diagonal, np.nan)
    outlines = none.copy()
    for t, k in zip(*np.nonzero(both.T), strict=True):
        outlines[t, k] = 100 * boundary_f(pred[t + 1, k], target[t + 1, k])
    return Geometry(error.T, direction.T, travel.T, outlines.T)


def remarks(found: Geometry, iou: np.ndarray) -> np.ndarray:
    """`Remarks` of one video as a vector; iou: (O, T)."""
    values = [float(mean_defined(mean_defined(table, axis=1))) for table in found]
    return np.array([*values, drift(iou)])


def drift(iou: np.ndarray) -> float:
    """IoU (O, T) of the first quarter of the frames minus the last, in points."""
    quarter = max(1, iou.shape[1] // 4)
    first, last = (mean_defined(part, axis=1) for part in (iou[:, :quarter], iou[:, -quarter:]))
    return 100 * float(mean_defined(first - last))


def boundary_f(pred: np.ndarray, target: np.ndarray) -> float:
    """F of two outlines (H, W) that may lie 0.8% of the diagonal apart (Perazzi et al. 2016)."""
    import cv2

    reach = int(np.ceil(_REACH * np.hypot(*target.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    ours, theirs = _outline(pred), _outline(target)
    near_ours, near_theirs = cv2.dilate(ours, disk), cv2.dilate(theirs, disk)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = float((ours & near_theirs).sum() / ours.sum())
    recall = float((theirs & near_ours).sum() / theirs.sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _outline(mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8: 1 where the pixel to the right, below, or both, is another one."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, both = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return ((mask != right) | (mask != below) | (mask != both)).astype(np.uint8)


def _centroids(masks: np.ndarray) -> np.ndarray:
    """(..., 2) row and column of masks (..., H, W); NaN where empty."""
    rows, columns = masks.sum(-1, dtype=np.float64), masks.sum(-2, dtype=np.float64)
    area = rows.sum(-1)[..., None]
    sums = np.stack([rows @ np.arange(rows.shape[-1]), columns @ np.arange(columns.shape[-1])], -1)
    return np.divide(sums, area, out=np.full(sums.shape, np.nan), where=area > 0)
