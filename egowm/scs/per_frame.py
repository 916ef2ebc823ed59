"""per_frame.csv: one line per clip, sample, object and frame."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from egowm.scs.clip_result import ClipResult
from egowm.scs.score import Case

COLUMNS = (
    "clip", "trajectory", "sample", "object", "frame", "iou", "case", "lost", "evidence",
    "pred_pixels", "target_pixels", "intersection", "centroid_error", "direction", "travel",
    "boundary_f",
)  # fmt: skip


def format_csv(clips: Sequence[ClipResult]) -> str:
    """The table with its header; IoU and F in percent, an empty field is undefined."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in clips:
        writer.writerows(_lines(clip))
    return out.getvalue()


def _lines(clip: ClipResult) -> Iterator[list[Any]]:
    for number, sample in enumerate(clip.samples):
        found, shape = sample.overlap, sample.geometry
        iou, case = 100 * found.iou(), found.case
        tables = (shape.centroid_error, shape.direction, shape.travel, shape.boundary)
        for k, t in np.ndindex(*iou.shape):
            yield [
                clip.name, clip.trajectory or "", number, clip.ids[k], t + 1, _text(iou[k, t]),
                Case(int(case[k, t])).name.lower(), int(found.lost[k, t]),
                _text(sample.evidence[k, t]),
                found.pred[k, t], found.target[k, t], found.intersection[k, t],
                *(_text(table[k, t]) for table in tables),
            ]  # fmt: skip


def _text(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
