"""What is known of one clip after scoring, and how scs.json says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from egowm.scs.geometry import Geometry
from egowm.scs.score import EmptyRule, Overlap, clip_score, mean_defined


class Sample(NamedTuple):
    """One predicted video of a clip."""

    overlap: Overlap
    evidence: np.ndarray  # (O, T)
    geometry: Geometry


class Doubtful(NamedTuple):
    """A structure that is left out, because the truth's own track of it goes astray."""

    id: int
    cycle_iou: float  # [0, 1]
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

    @property
    def overlap(self) -> Overlap:
        """Of the first sample."""
        return self.samples[0].overlap

    @property
    def evidence(self) -> np.ndarray:
        """Of the first sample, (O, T)."""
        return self.samples[0].evidence

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
