"""Pieces of the page: where the score lies, its course over frames, and tables."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from markupsafe import Markup

from egowm.evaluation.report.line_chart import iou_chart
from egowm.evaluation.report.page import NOTHING, draw_grid, draw_list, joined
from egowm.evaluation.report.score_table import CODEC, COPY, TRACKER, Row, number
from egowm.scs.record import ClipRecord, ScoreRecord
from egowm.scs.score import mean_defined

_REMARKS = {
    "direction": ("Direction agreement", "cosine between predicted and true motion, -1 to 1"),
    "travel": ("Distance moved", "predicted motion over the true one; below 1 is too little"),
    "centroid_error": ("Centroid error", "distance of the centroids, percent of the diagonal"),
    "boundary_f": ("Boundary F", "agreement of the outlines, 0 to 100"),
    "drift": ("Drift", "IoU points lost from the first to the last quarter of the frames"),
}
_LINES = (58, 10, 72, -4)  # for labels, below and above; the first where one has room
_LETTER = 6.2  # pixels of a letter, on average
_COLUMNS = ("Clip", "SCS", "DAVIS", "Visible", "Copy", "Structures", "Recording")


def reach(rows: Sequence[Row]) -> Markup:
    """A scale from 0 to 100 with floor, ceiling, the score and its interval."""
    scores = {row.label: row.scs for row in rows if row.scs is not None}
    model = next((row for row in rows if row.role == "model" and row.scs is not None), None)
    low, high = _band(rows)
    parts = [Markup('<path class="grid" d="M0 30 H700"/>')]
    if high > low:
        band = Markup('<rect class="band" x="{:.1f}" y="18" width="{:.1f}" height="24"/>')
        parts.append(band.format(7 * low, 7 * (high - low)))
    ends = dict.fromkeys(_LINES, -1e9)  # where the last label of each line ends
    for label, value in sorted(scores.items(), key=lambda item: item[1]):
        kind = "here" if model is not None and label == model.label else "cursor"
        parts.append(Markup('<path class="{}" d="M{:.1f} 16 v28"/>').format(kind, 7 * value))
        text = f"{label} {value:.1f}"
        half = _LETTER * len(text) / 2
        line = next((y for y in _LINES if ends[y] <= 7 * value - half), _LINES[-1])
        ends[line] = 7 * value + half
        mark = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
        parts.append(mark.format(7 * value, line, text))
    if model is not None and (interval := model.score.get("ci95")):
        start, end = interval
        here = Markup('<path class="here" d="M{:.1f} 30 H{:.1f}"/>')
        parts.append(here.format(7 * start, 7 * end))
    used = [y for y, end in ends.items() if end > -1e9]
    top, bottom = min([0, *(y - 12 for y in used)]), max([64, *(y + 6 for y in used)])
    return Markup(
        '<svg class="reach" viewBox="-20 {} 760 {}" role="img" '
        'aria-label="Score between floor and ceiling">{}</svg>'
    ).format(top, bottom - top, joined(parts))


def by_frame(record: ScoreRecord, rows: Sequence[Row]) -> Markup:
    """Mean IoU over frames, before the band between copy and ceiling where there is one."""
    ious = [o["iou"] for clip in record["clips"] for o in clip["objects"]]
    last = max(map(len, ious), default=0)
    if not last:
        return Markup("")
    table = np.full((len(ious), last), np.nan)
    for row, values in zip(table, ious, strict=True):
        row[: len(values)] = [np.nan if v is None else v for v in values]
    means = mean_defined(table, axis=0)
    curve = (None, *(None if np.isnan(v) else float(v) for v in means))
    band, label = _band(rows), "Mean IoU of all structures by frame"
    chart = iou_chart({0: curve}, {0: "var(--pred)"}, last, label, band)
    says = "; the band runs from copy to ceiling" if band[1] > band[0] else ""
    return Markup('<div class="plot"><h4>Mean overlap by frame{}</h4>{}</div>').format(says, chart)


def tercile_table(record: ScoreRecord) -> Markup:
    """Scores by how much the truth moves; empty for too few clips."""
    groups = record.get("terciles") or []
    if not groups:
        return Markup("")
    rows = [
        (
            (f"{name}: {number(g['motion_from'])} to {number(g['motion_to'])}", "", ""),
            [str(g["num_clips"]), number(g["scs"]), number(g["copy"])],
        )
        for name, g in zip(("little", "medium", "much"), groups, strict=False)
    ]
    columns = [(name, "") for name in ("Motion", "Clips", "SCS", "Copy")]
    return Markup("<h3>By true motion (100 minus the copy score of a clip)</h3>{}").format(
        draw_grid(columns, rows)
    )


def remark_list(record: ScoreRecord) -> Markup:
    """What went astray, and what was left out."""
    remarks = record.get("remarks") or {}
    items: list[tuple[str, str]] = [
        (title, Markup("{:.2f} <small>{}</small>").format(value, says))
        for key, (title, says) in _REMARKS.items()
        if (value := remarks.get(key)) is not None
    ]
    for clip in record["clips"]:
        for left_out in clip.get("doubtful") or []:
            motion = number(left_out["motion"]) or "unknown"
            cycle = left_out["cycle_iou"]
            returns = "unknown" if cycle is None else f"{cycle:.2f}"
            says = (
                f"{clip['name']}, structure {left_out['id']}: forth and back it returns with IoU "
                f"{returns}; motion {motion}"
            )
            if (known := left_out.get("known", 1.0)) < 1:
                says += f"; the tracker knows it by {known:.2f} in frame 0"
            items.append(("Left out", says))
    return draw_list("notes", items)


def clip_table(
    clips: Sequence[ClipRecord], shown: AbstractSet[str], anchor: Callable[[str], str]
) -> Markup:
    """Every clip; those on the page are links. A click on a heading sorts."""
    head = joined(
        Markup('<th scope="col"><button type="button">{}</button></th>').format(c) for c in _COLUMNS
    )
    body = []
    for clip in clips:
        name = clip["name"]
        link = Markup('<a href="#{}">{}</a>').format(anchor(name), name)
        scores = (clip["scs"], clip.get("scs_davis"), clip.get("scs_visible"), clip["copy"])
        values = [*map(number, scores), str(len(clip["objects"])), clip.get("trajectory") or ""]
        cells = joined(
            Markup('<td data-value="{}">{}</td>').format(v, v or NOTHING) for v in values
        )
        row = Markup('<tr><th scope="row" data-value="{}">{}</th>{}</tr>')
        body.append(row.format(name, link if name in shown else name, cells))
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(
        head, joined(body)
    )


def _band(rows: Sequence[Row]) -> tuple[float, float]:
    """From the copy row to the ceiling; 0 and 0 without a ceiling."""
    scores = {row.label: row.scs for row in rows}
    high = scores.get(CODEC) or scores.get(TRACKER) or 0.0
    return (scores.get(COPY) or 0.0, high) if high else (0.0, 0.0)
