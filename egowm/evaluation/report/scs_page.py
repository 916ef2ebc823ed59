"""One page of a scoring: truth and prediction under their masks, in step with the curves."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from egowm.evaluation.report.clip_card import draw_figure, draw_legend, draw_overlap
from egowm.evaluation.report.overlay import draw_masks
from egowm.evaluation.report.page import fill, joined
from egowm.evaluation.report.score_table import (
    Row,
    draw_empty_shares,
    draw_notes,
    draw_table,
    draw_warning,
    number,
)
from egowm.evaluation.report.scs_parts import (
    by_frame,
    clip_table,
    reach,
    remark_list,
    tercile_table,
)
from egowm.evaluation.scores import Curve, Scores, parse_scores
from egowm.scs.annotation.annotations import read_annotation
from egowm.scs.clips import Video
from egowm.scs.inputs import Inputs, gather, prepare
from egowm.scs.masks import ObjectMasks, davis_palette
from egowm.scs.result import write_whole
from egowm.scs.trackers import MaskReader, Tracker
from egowm.scs.tracking import Truth, read_tracks, track_frames

EACH = 6  # clips of every kind: worst, best, drawn by chance
FPS = 4.0
_MEANINGS = {
    "prediction": "The videos that were scored.",
    "copy": "The first frame repeated. Not a lower bound: moving the wrong way scores below it.",
    "ceiling_codec": "The true video through the model's autoencoder: the most it can show.",
    "ceiling_tracker": "The true video tracked anew from its middle: what tracking alone loses.",
}
_LABELS = {
    "prediction": "Prediction",
    "copy": "Copy of the first frame",
    "ceiling_codec": "Codec ceiling",
    "ceiling_tracker": "Tracker ceiling",
}


def write_page(
    record: dict[str, Any],
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
    frames = {name: clip["num_frames"] + 1 for name, clip in entries.items()}
    scores = parse_scores(Path("the scores"), record, frames)
    least = record["protocol"]["semantics"]["min_area"]
    shown = choose_clips(record["clips"], each)
    cards: list[Markup] = []
    for name in tqdm(shown, desc="drawing", unit="clip", disable=None):
        cards.append(_card(name, len(cards), inputs, follow, entries[name], scores, least))
    write_whole(output, _page(record, scores, cards, max(frames.values()) - 1, fps, set(shown)))


def choose_clips(clips: Sequence[Mapping[str, Any]], each: int) -> list[str]:
    """Names of the worst, the best, and some drawn by chance (always the same), worst first."""
    scored = [clip for clip in clips if clip["scs"] is not None]
    order = [clip["name"] for clip in sorted(scored, key=lambda clip: clip["scs"])]
    order += [clip["name"] for clip in clips if clip["scs"] is None]
    middle = order[each : max(each, len(order) - each)]
    drawn = set(random.Random(0).sample(middle, min(each, len(middle))))
    wanted = drawn | set(order[:each]) | set(order[max(0, len(order) - each) :])
    return [name for name in order if name in wanted]


def _card(
    name: str,
    place: int,
    inputs: Inputs,
    tracker: Tracker | MaskReader,
    entry: Mapping[str, Any],
    scores: Scores,
    min_area: float,
) -> Markup:
    drawn = inputs.annotations
    annotation = None if drawn is None else read_annotation(drawn[name], inputs.size)
    video = inputs.pred[name][0]
    truth, prediction, shown = _followed(tracker, inputs.gt[name], video, annotation, min_area)
    masks, ids = truth.tracks.masks, truth.ids
    colours = {k: "#{:02x}{:02x}{:02x}".format(*davis_palette()[k % 256]) for k in ids}
    several = f", the first of {entry['num_samples']} samples" if entry["num_samples"] > 1 else ""
    note = Markup("<span>SCS <b>{}</b></span> <span>copy <b>{}</b></span>").format(
        number(entry["scs"]) or Markup("&ndash;"), number(entry["copy"])
    )
    left = draw_figure(
        shown[0], "Truth", "contours: prediction", Markup(""), name,
        lambda sheet: draw_masks(masks, prediction, ids, sheet),
    )  # fmt: skip
    right = draw_figure(
        shown[1], "Prediction", f"contours: truth{several}", note, name,
        lambda sheet: draw_masks(prediction, masks, ids, sheet),
    )  # fmt: skip
    curves: Mapping[int, Curve] = scores.clips[name].curves
    if other := sorted(curves.keys() - set(ids)):
        raise ValueError(
            f"Clip {name}: the scores are of structure {other[0]}, annotated are "
            f"{', '.join(map(str, ids))}. Score again."
        )
    chart = draw_overlap(curves, colours, len(masks) - 1, name)
    return Markup(
        '<article class="card" id="{anchor}" data-last="{last}" data-name="{name}" '
        'data-scs="{scs}" data-psnr="0" data-chance="{chance:.6f}"><h3>{name}</h3>'
        '<div class="columns"><div class="column truth">{left}</div>'
        '<div class="column pred">{right}{chart}</div></div>{legend}</article>'
    ).format(
        anchor=anchor(name),
        last=len(masks) - 1,
        name=name,
        scs=number(entry["scs"]),
        chance=random.Random(name).random(),
        left=left,
        right=right,
        chart=chart,
        legend=draw_legend(colours, False),
    )


def anchor(name: str) -> str:
    """The name as an id of the page: letters and digits stay, all else becomes numbers."""
    return "clip-" + "".join(c if c.isalnum() and c.isascii() else f"-{ord(c)}-" for c in name)


def _followed(
    tracker: Tracker | MaskReader,
    clip: Video,
    video: Video,
    annotation: ObjectMasks | None,
    min_area: float,
) -> tuple[Truth, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The truth, the prediction's masks, and both videos: grey where only masks are known."""
    if isinstance(tracker, MaskReader):
        truth, found = read_tracks(tracker, clip, [video], annotation)
        masks = truth.tracks.masks
        grey = np.full((len(masks), *masks.shape[2:], 3), 60, np.uint8)
        return truth, found[0].tracks.masks, (grey, grey)
    assert annotation is not None, "`prepare` refuses a tracker without annotations"
    frames, predicted = clip.frames(), video.frames()
    truth, found = track_frames(tracker, frames, [predicted.copy()], annotation, min_area)
    return truth, found[0].tracks.masks, (frames, predicted)


def _page(
    record: dict[str, Any],
    scores: Scores,
    cards: Sequence[Markup],
    last: int,
    fps: float,
    shown: set[str],
) -> str:
    rows = _rows(record, scores)
    environment = ", ".join(f"{k} {v}" for k, v in record["environment"].items() if v)
    values = {
        "fps": f"{fps:g}",
        "last": last,
        "columns": 2,
        "score": number(scores.row.scs) or "undefined",
        "units": _units(scores),
        "reach": reach(rows),
        "table": draw_table(rows),
        "notes": draw_notes(rows),
        "empty": draw_empty_shares({"pred": "Prediction"}, {"pred": scores}),
        "warning": draw_warning(scores.warning),
        "by_frame": by_frame(record, rows),
        "terciles": tercile_table(record),
        "remarks": remark_list(record),
        "clips": clip_table(record["clips"], shown, anchor),
        "count": f"{len(cards)} of {len(record['clips'])} clips",
        "cards": joined(cards),
        "fingerprint": record["fingerprint"],
        "environment": environment,
        "protocol": json.dumps(record["protocol"], indent=2, ensure_ascii=False),
    }
    return fill("scs_page.html", values)


def _rows(record: Mapping[str, Any], scores: Scores) -> list[Row]:
    """The prediction and its reference rows, as far as they were scored."""
    units = _units(scores)
    found = [Row(_LABELS["prediction"], _MEANINGS["prediction"], "model", scores.row, None, units)]
    for key in ("copy", "ceiling_codec", "ceiling_tracker"):
        if record.get(key) is not None:
            score = parse_scores(Path("the scores"), {**record[key]}, {}).row
            found.append(Row(_LABELS[key], _MEANINGS[key], "reference", score, None, units))
    if scores.row.interval is None:
        found.insert(0, found.pop(1))
    return found


def _units(scores: Scores) -> str:
    return f"{scores.num_units} {scores.unit}"
