"""One page of a scoring: truth and prediction under their masks, in step with the curves."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from egowm.checks import counted
from egowm.evaluation.report.clip_card import (
    anchor,
    colours_of,
    curves_of,
    draw_card,
    draw_column,
    draw_figure,
    draw_overlap,
)
from egowm.evaluation.report.overlay import draw_masks
from egowm.evaluation.report.page import (
    NOTHING,
    draw_orders,
    draw_protocol,
    draw_warning,
    fill,
    joined,
)
from egowm.evaluation.report.score_table import (
    draw_empty_shares,
    draw_notes,
    draw_table,
    number,
    table_rows,
    units,
)
from egowm.evaluation.report.scs_parts import (
    by_frame,
    clip_table,
    reach,
    remark_list,
    tercile_table,
)
from egowm.scs.annotation.annotations import read_annotation
from egowm.scs.clips import Video
from egowm.scs.inputs import Inputs, gather, prepare
from egowm.scs.masks import ObjectMasks, davis_palette
from egowm.scs.record import ClipRecord, ScoreRecord
from egowm.scs.result import write_whole
from egowm.scs.trackers import MaskReader, Tracker
from egowm.scs.tracking import Truth, read_tracks, track_frames

EACH = 6  # clips of every kind: worst, best, drawn by chance
FPS = 4.0
_LEAD = (
    "Filled: the masks of that video. Lines: those of the other one. Keys: space plays, arrows "
    "step, m shows and hides masks."
)
_BRIEF = Markup("{}<details open><summary>Motion and outlines</summary>{}{}</details>")
_BUTTON = Markup(
    '<button id="masks" type="button" aria-pressed="true" title="Show or hide the masks (m)">masks'
    "</button>"
)


def write_page(
    record: ScoreRecord,
    output: Path,
    pred: Path,
    gt: Path,
    annotations: Path | None = None,
    *,
    tracker: str | Tracker | MaskReader,
    ceiling_codec: Path | None = None,
    first: Path | None = None,
    cache: Path | None = None,
    each: int = EACH,
    fps: float = FPS,
) -> None:
    """Write the page of `record` with the worst, best and some other clips.

    record: see `egowm.scs.record`. Masks are tracked again, or read from `cache`. Raises ValueError
    where the folders hold other clips, or clips other structures, than the record.
    """
    follow = prepare(tracker, annotations, cache)
    inputs = gather(follow, pred, gt, ceiling_codec, annotations, first=first)
    entries = {clip["name"]: clip for clip in record["clips"]}
    if entries.keys() != inputs.gt.keys():
        apart = sorted(entries.keys() ^ inputs.gt.keys())
        raise ValueError(
            f"The scores are of other clips than the folders hold: {len(apart)} are not in both, "
            f"{', '.join(apart[:10])}. Score again."
        )
    least = record["protocol"]["semantics"]["min_area"]
    shown = choose_clips(record["clips"], each)
    cards = [
        _card(entries[name], inputs, follow, least)
        for name in tqdm(shown, desc="drawing", unit="clip", disable=None)
    ]
    write_whole(output, _page(record, cards, fps, set(shown)))


def choose_clips(clips: Sequence[ClipRecord], each: int) -> list[str]:
    """Names of the worst, the best, and some drawn by chance (always the same), worst first."""
    scored = [clip for clip in clips if clip["scs"] is not None]
    order = [clip["name"] for clip in sorted(scored, key=lambda clip: clip["scs"] or 0.0)]
    order += [clip["name"] for clip in clips if clip["scs"] is None]
    middle = order[each : max(each, len(order) - each)]
    drawn = set(random.Random(0).sample(middle, min(each, len(middle))))
    wanted = drawn | set(order[:each]) | set(order[max(0, len(order) - each) :])
    return [name for name in order if name in wanted]


def _card(
    entry: ClipRecord, inputs: Inputs, tracker: Tracker | MaskReader, min_area: float
) -> Markup:
    name, drawn = entry["name"], inputs.annotations
    annotation = None if drawn is None else read_annotation(drawn[name], inputs.size)
    video = inputs.pred[name][0]
    truth, prediction, shown = _followed(tracker, inputs.gt[name], video, annotation, min_area)
    masks, ids, last = truth.tracks.masks, truth.ids, len(prediction) - 1
    curves = curves_of(entry, last)
    if other := sorted(curves.keys() - set(ids)):
        raise ValueError(
            f"Clip {name}: the scores are of structure {other[0]}, annotated are "
            f"{', '.join(map(str, ids))}. Score again."
        )
    several = f", the first of {entry['num_samples']} samples" if entry["num_samples"] > 1 else ""
    note = Markup("<span>SCS <b>{}</b></span> <span>copy <b>{}</b></span>").format(
        number(entry["scs"]) or NOTHING, number(entry["copy"]) or NOTHING
    )
    left = draw_figure(
        shown[0], "Truth", "contours: prediction", Markup(""), name,
        lambda sheet: draw_masks(masks, prediction, ids, sheet),
    )  # fmt: skip
    right = draw_figure(
        shown[1], "Prediction", f"contours: truth{several}", note, name,
        lambda sheet: draw_masks(prediction, masks, ids, sheet),
    )  # fmt: skip
    colours = colours_of(ids, davis_palette())
    chart = draw_overlap(curves, colours, last, name)
    columns = [draw_column("truth", left), draw_column("pred", right, chart)]
    return draw_card(name, columns, last, entry["scs"], 0.0, colours)


def _followed(
    tracker: Tracker | MaskReader,
    clip: Video,
    video: Video,
    annotation: ObjectMasks | None,
    min_area: float,
) -> tuple[Truth, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The truth, the prediction's masks, and both videos: grey where only masks are known."""
    if isinstance(tracker, MaskReader):
        truth, predictions = read_tracks(tracker, clip, [video], annotation)
        masks = truth.tracks.masks
        grey = np.full((len(masks), *masks.shape[2:], 3), 60, np.uint8)
        return truth, predictions[0].tracks.masks, (grey, grey)
    assert annotation is not None, "`prepare` refuses a tracker without annotations"
    frames, predicted = clip.frames(), video.frames()
    truth, predictions = track_frames(tracker, frames, [predicted.copy()], annotation, min_area)
    return truth, predictions[0].tracks.masks, (frames, predicted)


def _page(record: ScoreRecord, cards: Sequence[Markup], fps: float, shown: set[str]) -> str:
    labels, scores = {"": "Prediction"}, {"": record}
    rows = table_rows(labels, scores, {})
    clips = counted(len(record["clips"]), "clip")
    header = Markup('<p class="headline">{} <small>of 100, over {}</small></p>{}')
    values = {
        "title": "Structural Consistency Score",
        "header": header.format(
            number(record.get("scs")) or "undefined", units(record), reach(rows)
        ),
        "fps": f"{fps:g}",
        "last": max(clip["num_frames"] for clip in record["clips"]),
        "columns": 2,
        "table": draw_table(rows),
        "notes": draw_notes(rows),
        "empty": draw_empty_shares(labels, scores),
        "warning": draw_warning(record.get("warning")),
        "brief": _BRIEF.format(by_frame(record, rows), remark_list(record), tercile_table(record)),
        "metrics": "",
        "links": "",
        "more": "",
        "all_clips": Markup(
            '<div class="heading"><h2>All clips</h2></div><div class="sortable scroll" '
            'tabindex="0" role="region" aria-label="All clips">{}</div>'
        ).format(clip_table(record["clips"], shown, anchor)),
        "clip_count": f"{len(cards)} of {clips}: the worst, the best, and some by chance"
        if len(cards) < len(record["clips"])
        else clips,
        "lead": _LEAD,
        "orders": draw_orders("worst", "best", "chance", "name"),
        "cards": joined(cards),
        "mask_button": _BUTTON,
        "protocol": draw_protocol(record),
    }
    return fill(values)
