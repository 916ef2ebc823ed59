"""A scoring in text: the table that is printed, and one line per frame as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from egowm.checks import counted
from egowm.scs.clip_result import ClipResult
from egowm.scs.result import Result, Row
from egowm.scs.score import HORIZONS, Case, mean_defined
from egowm.scs.withheld import num_unknown

COLUMNS = (
    "clip", "trajectory", "sample", "object", "frame", "iou", "case", "lost", "evidence",
    "pred_pixels", "target_pixels", "intersection", "centroid_error", "direction", "travel",
    "boundary_f",
)  # fmt: skip
_POOLED_GAP = 1.0  # the pooled score is worth a line if it differs by more


def format_result(result: Result) -> str:
    """Headline, reference rows, variants and shares; without an interval the copy row is first."""
    rows = [("prediction", result.prediction), ("copy", result.copy)]
    if result.prediction.ci95 is None:
        rows.reverse()
    if result.ceiling_codec is not None:
        rows.append(("ceiling (codec)", result.ceiling_codec))
    if result.ceiling_tracker is not None:
        rows.append(("ceiling (track)", result.ceiling_tracker))
    columns = ["scs", "davis", "visible", *(f"1..{k}" for k in HORIZONS)]
    lines = [
        f"SCS {_score(result.scs)}   {result.interval_text}",
        f"tracker {result.protocol['tracker']['name']}, {counted(len(result.clips), 'clip')}, "
        f"protocol {result.fingerprint[:12]}",
        "",
        " " * 16 + "".join(f"{column:>9}" for column in columns),
        *(_line(name, row) for name, row in rows),
        "",
        *_remarks(result),
        *_motion(result),
    ]
    return "\n".join(lines)


def why_no_score(result: Result) -> str:
    """Why a result has no score at all, and what to do."""
    doubtful = sum(len(clip.doubtful) for clip in result.clips)
    tracker, clips = result.protocol["tracker"]["name"], counted(len(result.clips), "clip")
    if 2 * (unknown := num_unknown(result.clips)) > doubtful:
        return (
            f"the tracker {tracker} does not know most structures in frame 0 "
            f"({counted(unknown, 'structure')} of {clips}), so a score of the others would say "
            f"nothing. Track with weights that were trained longer or on such video, or with "
            f"another tracker."
        )
    if doubtful:
        return (
            f"the tracker {tracker} loses {counted(doubtful, 'structure')} of {clips} in the truth "
            f"itself, and none is left. Annotate larger structures that stay in view, give frames "
            f"of more pixels, or track with sam2."
        )
    return (
        f"{tracker} finds no structure of {clips} in frames 1..T, in the truth or in the "
        f"prediction. Annotate structures that cover more of the picture and stay in view."
    )


def _line(name: str, row: Row) -> str:
    found = row.summary
    values = [found.scs, found.scs_davis, found.scs_visible, *found.scs_at.values()]
    return f"{name:<16}" + "".join(f"{_score(value):>9}" for value in values)


def _remarks(result: Result) -> list[str]:
    found = result.prediction.summary
    shares = found.empty_shares
    lines = [
        f"masks in frames: both empty {shares.both_empty:.1%}, prediction empty "
        f"{shares.pred_empty:.1%}, truth empty {shares.target_empty:.1%}, both present "
        f"{shares.both_present:.1%}"
    ]
    if result.normalised is not None:
        lines.append(f"normalised (copy 0, ceiling 1): {result.normalised:.3f}")
    if abs(found.pooled - found.scs) > _POOLED_GAP:
        counts = ", ".join(f"{counted(n, 'clip')} of {k}" for k, n in found.object_counts.items())
        lines.append(f"pooled over objects and frames: {_score(found.pooled)} (objects: {counts})")
    if found.num_lost or result.num_lost_truth:
        lines.append(
            f"without evidence: {counted(found.num_lost, 'object frame')} of the prediction "
            f"(scored 0), {result.num_lost_truth} of the truth"
        )
    return lines


def _motion(result: Result) -> list[str]:
    """How the scene moved, where it moved more, and what was left out."""
    found = result.remarks
    lines = []
    if not np.isnan(found.direction):
        lines.append(
            f"motion: direction {found.direction:+.2f} (1 the same way), length "
            f"{found.travel:.2f} of the true one; boundary F {_score(found.boundary_f)}; "
            f"{found.drift:+.1f} lost from first to last quarter"
        )
    if (anew := result.reanchored) is not None:
        lines.append(
            f"annotated anew on the way: {_score(anew.scs)} (copy {_score(anew.copy)}), structures "
            f"cover {anew.coverage:.0%} of the true frames"
        )
    if groups := result.terciles:
        scores = ", ".join(f"{_score(g.scs)} (copy {_score(g.copy)})" for g in groups)
        lines.append(f"by true motion, least to most: {scores}")
    doubtful = [left_out for clip in result.clips for left_out in clip.doubtful]
    if doubtful:
        moved = np.array([left_out.motion for left_out in doubtful])
        unknown = num_unknown(result.clips)
        which = f"; {unknown} of them it does not know in frame 0" if unknown else ""
        lines.append(
            f"left out: {counted(len(doubtful), 'structure')} that the tracker loses in the truth "
            f"(motion {_score(float(mean_defined(moved)))}){which}"
        )
    return lines


def _score(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}"


def format_csv(clips: Sequence[ClipResult]) -> str:
    """The table with its header; IoU and F in percent, an empty field is undefined."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in clips:
        writer.writerows(_frame_lines(clip))
    return out.getvalue()


def _frame_lines(clip: ClipResult) -> Iterator[list[Any]]:
    for number, sample in enumerate(clip.samples):
        found, shape = sample.overlap, sample.geometry
        iou, case = 100 * found.iou(), found.case
        tables = (shape.centroid_error, shape.direction, shape.travel, shape.boundary)
        for k, t in np.ndindex(*iou.shape):
            yield [
                clip.name, clip.trajectory or "", number, clip.ids[k], t + 1, _field(iou[k, t]),
                Case(int(case[k, t])).name.lower(), int(found.lost[k, t]),
                _field(sample.evidence[k, t]),
                found.pred[k, t], found.target[k, t], found.intersection[k, t],
                *(_field(table[k, t]) for table in tables),
            ]  # fmt: skip


def _field(value: Any) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
