"""Pieces of the page: where the score lies, its course over frames, and tables."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from html import escape
from typing import Any

import numpy as np

from egowm.evaluation.report.line_chart import iou_chart
from egowm.evaluation.report.score_table import Row, number
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


def reach(rows: Sequence[Row]) -> str:
    """A scale from 0 to 100 with floor, ceiling, the score and its interval."""
    found = {row.label: row.score.scs for row in rows if row.score.scs is not None}
    model = next((row for row in rows if row.role == "model" and row.score.scs is not None), None)
    low, high = _band(rows)
    parts = ['<path class="grid" d="M0 30 H700"/>']
    if high > low:
        parts.append(f'<rect class="band" x="{7 * low:.1f}" y="18" width="{7 * (high - low):.1f}" '
                     'height="24"/>')  # fmt: skip
    ends = dict.fromkeys(_LINES, -1e9)  # where the last label of each line ends
    for label, value in sorted(found.items(), key=lambda item: item[1]):
        kind = "here" if model is not None and label == model.label else "cursor"
        parts.append(f'<path class="{kind}" d="M{7 * value:.1f} 16 v28"/>')
        text = f"{label} {value:.1f}"
        half = _LETTER * len(text) / 2
        line = next((y for y in _LINES if ends[y] <= 7 * value - half), _LINES[-1])
        ends[line] = 7 * value + half
        parts.append(
            f'<text x="{7 * value:.1f}" y="{line}" text-anchor="middle">{escape(text)}</text>'
        )
    if model is not None and model.score.interval:
        start, end = model.score.interval
        parts.append(f'<path class="here" d="M{7 * start:.1f} 30 H{7 * end:.1f}"/>')
    used = [y for y, end in ends.items() if end > -1e9]
    top, bottom = min([0, *(y - 12 for y in used)]), max([64, *(y + 6 for y in used)])
    return (
        f'<svg class="reach" viewBox="-20 {top} 760 {bottom - top}" role="img" '
        f'aria-label="Score between floor and ceiling">{"".join(parts)}</svg>'
    )


def by_frame(record: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Mean IoU over frames, before the band between copy and ceiling where there is one."""
    ious = [o["iou"] for clip in record["clips"] for o in clip["objects"]]
    last = max(map(len, ious), default=0)
    if not last:
        return ""
    table = np.full((len(ious), last), np.nan)
    for row, values in zip(table, ious, strict=True):
        row[: len(values)] = [np.nan if v is None else v for v in values]
    means = mean_defined(table, axis=0)
    curve = (None, *(None if np.isnan(v) else float(v) for v in means))
    chart = iou_chart({0: curve}, {0: "var(--pred)"}, last, "Mean IoU of all structures by frame")
    low, high = _band(rows)
    top, tall = 8.0, 150 - 20.0 - 8.0
    band = (
        f'<rect class="band" x="26" width="206" y="{top + tall * (1 - high / 100):.1f}" '
        f'height="{tall * (high - low) / 100:.1f}"/>'
    )
    head, mark, rest = chart.partition('<path class="halo"')
    says = "; the band runs from copy to ceiling" if high > low else ""
    return (
        f'<div class="plot"><h4>Mean overlap by frame{says}</h4>'
        f"{head}{band if high > low else ''}{mark}{rest}</div>"
    )


def tercile_table(record: Mapping[str, Any]) -> str:
    """Scores by how much the truth moves; "" for too few clips."""
    groups = record.get("terciles") or []
    if not groups:
        return ""
    body = "".join(
        f'<tr><th scope="row">{name}: {number(g["motion_from"])} to {number(g["motion_to"])}</th>'
        f"<td>{g['num_clips']}</td><td>{number(g['scs'])}</td><td>{number(g['copy'])}</td></tr>"
        for name, g in zip(("little", "medium", "much"), groups, strict=False)
    )
    return (
        "<h3>By true motion (100 minus the copy score of a clip)</h3><table><thead><tr>"
        '<th scope="col">Motion</th><th scope="col">Clips</th><th scope="col">SCS</th>'
        f'<th scope="col">Copy</th></tr></thead><tbody>{body}</tbody></table>'
    )


def remark_list(record: Mapping[str, Any]) -> str:
    """What went astray, and what was left out."""
    found = record.get("remarks") or {}
    items = [
        f"<div><dt>{title}</dt><dd>{found[key]:.2f} <small>{says}</small></dd></div>"
        for key, (title, says) in _REMARKS.items()
        if found.get(key) is not None
    ]
    for clip in record["clips"]:
        for left_out in clip.get("doubtful") or []:
            motion = number(left_out["motion"]) or "unknown"
            items.append(
                f"<div><dt>Left out</dt><dd>{escape(clip['name'])}, structure {left_out['id']}: "
                f"forth and back it returns with IoU {left_out['cycle_iou']:.2f}; motion {motion}"
                "</dd></div>"
            )
    return f'<dl class="notes">{"".join(items)}</dl>' if items else ""


def clip_table(
    clips: Sequence[Mapping[str, Any]], shown: AbstractSet[str], anchor: Callable[[str], str]
) -> str:
    """Every clip; those on the page are links. A click on a heading sorts."""
    head = "".join(
        f'<th scope="col"><button type="button">{escape(c)}</button></th>' for c in _COLUMNS
    )
    body = []
    for clip in clips:
        name = escape(clip["name"])
        label = f'<a href="#{anchor(clip["name"])}">{name}</a>' if clip["name"] in shown else name
        values = [number(clip.get(key)) for key in ("scs", "scs_davis", "scs_visible", "copy")]
        values += [str(len(clip["objects"])), escape(clip.get("trajectory") or "")]
        cells = "".join(f'<td data-value="{v}">{v or "&ndash;"}</td>' for v in values)
        body.append(f'<tr><th scope="row" data-value="{name}">{label}</th>{cells}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _band(rows: Sequence[Row]) -> tuple[float, float]:
    """From the copy row to the ceiling; 0 and 0 without a ceiling."""
    found = {row.label: row.score.scs for row in rows}
    high = found.get("Codec ceiling") or found.get("Tracker ceiling") or 0.0
    return (found.get("Copy of the first frame") or 0.0, high) if high else (0.0, 0.0)
