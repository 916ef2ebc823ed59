"""`egowm report RUN`: one HTML page, complete in itself, that shows what a model predicted.

Truth and predictions play in step beside the actions and the overlap over time, under the table of
scores. The page opens from disk without internet. Beside it, RUN/videos/ gets an mp4 per clip. A
run in a folder of its own inside the run, as the demo's humanoid, gets a section below it, and
its videos beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from egowm.checks import checked, counted
from egowm.evaluation.record import EvalRecord, load
from egowm.evaluation.report.clip_card import MAX_SIDE, curves_of, draw_run_card
from egowm.evaluation.report.comparison_videos import write_comparison
from egowm.evaluation.report.metric_parts import draw_metrics
from egowm.evaluation.report.page import (
    draw_list,
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
    table_rows,
)
from egowm.evaluation.report.section import draw_section
from egowm.evaluation.run_folder import PRIMARY, TRUTH, RunError, RunFolder, check_page, read_run
from egowm.files import check_link
from egowm.pixels import psnr
from egowm.scs.record import ClipRecord, ScoreRecord
from egowm.scs.result import EXPECTED, Result, write_whole

Scores = Mapping[str, ScoreRecord | None]  # of every variant's folder; None: not scored
_UNSCORED = Markup(
    '<p class="warning">Not scored yet. Run <code>egowm-scs score RUN/pred RUN/gt --annotations '
    "ANNOTATIONS --tracker TRACKER --json RUN/scs.json</code> and <code>egowm report RUN</code>, "
    "where ANNOTATIONS is the folder that <code>egowm-scs annotate</code> wrote.</p>"
)
LEAST = 128  # pixels a side below which nobody marks structures by hand
_SMALL = Markup(
    '<p class="warning">Not scored: frames of {} are too small to mark structures in. The metrics '
    "below compare pixels; for SCS take frames of at least {} pixels a side.</p>"
)
_LEAD = (
    "Every video starts from the same recorded frame. Then the truth shows what the camera saw, "
    "the predictions what the model expected. All videos move in step."
)
_SPREAD = "The clips here are spread evenly from the lowest to the highest; the table counts all,"


@dataclass(frozen=True)
class _Part:
    """A run, read, with its clips drawn. psnrs: by clip, as `_clip_psnrs`."""

    run: RunFolder
    scores: Scores
    psnrs: Mapping[str, Mapping[str, float]]
    cards: Sequence[Markup]
    metrics: EvalRecord | None


@checked
def write_report(
    run: Path | str,
    output: Path | str | None = None,
    max_clips: int = 24,
    videos: bool = True,
) -> Path:
    """Write the report of a run folder and return its path.

    Args:
        run: Folder that `egowm predict` wrote, scored or not. Runs that lie in it are shown below.
        output: The page; RUN/report.html by default.
        max_clips: How many clips of a run the page embeds, at least 1, spread evenly from the
            lowest score to the highest, the most typical first.
        videos: Also write RUN/videos/*.mp4 of these clips.

    Raises:
        ValueError: A folder that does not fit; one line says what to do.
        OSError: The page would take the place of another file.

    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from egowm.video import write_frames
    >>> with TemporaryDirectory() as folder:
    ...     for half, grey in (("gt", 100), ("pred", 105)):  # 5 grey levels apart: 34.2 dB
    ...         write_frames(f"{folder}/{half}/clip", np.full((3, 16, 16, 3), grey, np.uint8))
    ...     described = {"fps": 4, "clips": {"clip": {"actions": [[0.1], [0.1]]}}}
    ...     written = Path(folder, "clips.json").write_text(json.dumps(described))
    ...     page = write_report(Path(folder), videos=False).read_text("utf-8")
    >>> page.count("<td>34.2</td>")
    1
    """
    output = check_page(Path(run), output, max_clips, videos)
    above, *below = read_run(Path(run)), *_inside(Path(run), videos)
    first = _drawn(above, max_clips, videos)
    more = [_drawn(inner, max_clips, videos, inner.path.name) for inner in below]
    write_whole(output, _page(first, more))
    return output


def _inside(run: Path, videos: bool) -> list[RunFolder]:
    """The runs in a run's folder, read before anything is drawn; not those being written."""
    found = []
    for path in sorted(file.parent for file in run.glob("*/clips.json")):
        if path.name.startswith("."):
            continue
        if videos:
            check_link(path / "videos")
        try:
            found.append(read_run(path))
        except ValueError as error:
            raise RunError(
                f"{error} The page shows the runs in {run} as well: to leave {path.name} out, move "
                f"it elsewhere."
            ) from error
    return found


def _drawn(folder: RunFolder, max_clips: int, videos: bool, section: str = "") -> _Part:
    """A run of the page; writes its videos, too. section: where it is shown, "" at the head."""
    scores = {variant.folder: _read_scores(folder, variant.folder) for variant in folder.variants}
    _check_protocols(folder, scores)
    psnrs = {
        clip: _clip_psnrs(folder, clip)
        for clip in tqdm(folder.clips, desc="Report: reading clips", disable=None)
    }
    by_clip = {f: {c["name"]: c for c in _clips(score)} for f, score in scores.items()}
    shown = _typical_first(folder, by_clip[folder.variants[0].folder], psnrs, max_clips)
    cards = []
    for clip in tqdm(shown, desc="Report: drawing clips", disable=None):
        frames = folder.videos(clip)
        entries = {f: entries[clip] for f, entries in by_clip.items() if clip in entries}
        cards.append(draw_run_card(folder, clip, frames, entries, psnrs[clip], section))
        if videos:
            write_comparison(folder, clip, frames)
    return _Part(folder, scores, psnrs, cards, _read_metrics(folder))


def _read_metrics(run: RunFolder) -> EvalRecord | None:
    """eval.json of the run, or None; `RunError` where it is of other clips."""
    path = run.path / "eval.json"
    if not path.exists():
        return None
    record = load(path)
    if other := sorted({*record["clips"]} ^ set(run.clips)):
        raise RunError(f"{path}: {other[0]} is not in both this file and the run. Evaluate again.")
    return record


def _scores_path(run: RunFolder, folder: str) -> Path:
    """Where the scores of a variant lie: scs.json for pred, scs_shuffled.json for pred_shuffled."""
    suffix = "" if folder == PRIMARY else f"_{folder.removeprefix(PRIMARY + '_')}"
    return run.path / f"scs{suffix}.json"


def _clips(score: ScoreRecord | None) -> Sequence[ClipRecord]:
    return (score.get("clips") if score else None) or []


def _read_scores(run: RunFolder, folder: str) -> ScoreRecord | None:
    """A variant's scores, or None where there are none; `RunError` where they are of other clips.

    Whatever the page can do without may be missing.
    """
    path = _scores_path(run, folder)
    if not path.exists():
        return None
    score = Result.load(path, partial=True)
    try:
        _check_clips(_clips(score), run)
    except KeyError as error:
        raise RunError(f"{path}: expected {EXPECTED}; {error} is missing") from error
    except ValueError as error:
        raise RunError(f"{path}: {error}") from error
    return score


def _check_clips(clips: Sequence[ClipRecord], run: RunFolder) -> None:
    names = {clip["name"] for clip in clips}
    if names and (other := sorted(names ^ set(run.clips))):
        raise ValueError(
            f"{counted(len(names), 'clip was', 'clips were')} scored, the run has "
            f"{len(run.clips)}; {other[0]} is not in both. Score the run again."
        )
    for clip in clips:
        curves_of(clip, len(run.actions[clip["name"]]))


def _check_protocols(run: RunFolder, scores: Scores) -> None:
    """Only scores of one protocol stand in one table."""
    protocols = {f: p for f, s in scores.items() if s and (p := s.get("fingerprint"))}
    if len(set(protocols.values())) > 1:
        names = ", ".join(f"{_scores_path(run, f).name} {p[:12]}" for f, p in protocols.items())
        raise RunError(
            f"{run.path}: scored under different protocols ({names}). Score every prediction with "
            f"the same tracker, annotations and clips."
        )


def _clip_psnrs(run: RunFolder, clip: str) -> dict[str, float]:
    """PSNR of each variant, and of the first frame repeated, over frames 1..T of a clip."""
    videos = run.videos(clip)
    truth = videos.pop(TRUTH)
    videos["copy"] = truth[:1].repeat(len(truth), axis=0)
    return {folder: psnr(video[1:], truth[1:]) for folder, video in videos.items()}


def _typical_first(
    run: RunFolder,
    entries: Mapping[str, ClipRecord],
    psnrs: Mapping[str, Mapping[str, float]],
    most: int,
) -> list[str]:
    """At most so many clips, spread evenly over the first variant's SCS, the median first.

    Clips without a score come last; without any score the clips stand by PSNR.
    """
    values = {clip: entries[clip].get("scs") for clip in run.clips if clip in entries}
    scores = {clip: scs for clip, scs in values.items() if scs is not None}
    if not scores:
        scores = {clip: psnrs[clip][run.variants[0].folder] for clip in run.clips}
    order = sorted(scores, key=lambda clip: scores[clip])
    if len(order) > most:
        middle = (len(order) - 1) // 2  # takes the place of the one nearest to it
        places = [round(place) for place in np.linspace(len(order) - 1, 0, most)]
        places[int(np.argmin([abs(place - middle) for place in places]))] = middle
        order = [order[place] for place in places]
    median = float(np.median(list(scores.values())))
    typical = sorted(order, key=lambda clip: abs(scores[clip] - median))
    return [*typical, *(clip for clip in run.clips if clip not in scores)][:most]


def _page(part: _Part, more: Sequence[_Part]) -> str:
    """Fill the template."""
    run, cards = part.run, part.cards
    left_out = len(run.clips) - len(cards)
    primary = _clips(part.scores[run.variants[0].folder])
    measure = "SCS" if any(clip.get("scs") is not None for clip in primary) else "PSNR"
    lasts = [len(actions) for p in (part, *more) for actions in p.run.actions.values()]
    values = _described(part) | {
        "fps": f"{run.fps:g}",
        "last": max(lasts),
        "all_clips": "",
        "lead": f"{_LEAD} The clip with the most typical {measure} comes first."
        + (f" {_SPREAD} also {counted(left_out, 'clip')} left out." if left_out else ""),
        "orders": draw_orders(
            "typical", *(("worst", "best") if measure == "SCS" else ()), "psnr", "name"
        ),
        "more": joined(draw_section(_described(p), p.run.fps, run.fps) for p in more),
        "mask_button": "",
    }
    return fill(values)


def _first(scores: Scores) -> ScoreRecord | None:
    return next((score for score in scores.values() if score), None)


def _described(part: _Part) -> dict[str, object]:
    """What a page says of a run, at its head or in a section."""
    run, metrics, first = part.run, part.metrics, _first(part.scores)
    labels, shown = {v.folder: v.label for v in run.variants}, len(part.cards)
    each = part.psnrs.values()
    means = {key: sum(row[key] for row in each) / len(each) for key in (*labels, "copy")}
    rows = table_rows(labels, part.scores, {} if metrics else means)  # else it is in the metrics
    return {
        "title": run.title or run.model or "Predictions",
        "header": _about(run),
        "warning": draw_warning(first.get("warning")) if first else _unscored(run),
        "table": draw_table(rows) if first or metrics is None else "",
        "notes": draw_notes(rows),
        "empty": draw_empty_shares(labels, part.scores),
        "brief": Markup('<p class="brief">{}</p>').format(_brief(run, first)),
        "metrics": draw_metrics(metrics),
        "columns": 1 + len(labels),
        "cards": joined(part.cards),
        "clip_count": f"{shown} of {counted(len(run.clips), 'clip')}"
        if shown < len(run.clips)
        else counted(shown, "clip"),
        "protocol": draw_protocol(first),
    }


def _unscored(run: RunFolder) -> Markup:
    """How to score the run, where its frames are large enough."""
    size = run.frames(TRUTH, run.clips[0]).shape[1:3]
    return _UNSCORED if min(size) >= LEAST else _SMALL.format(_size(run), LEAST)


def _about(run: RunFolder) -> Markup:
    items = {
        "Model": run.model or "not named",
        "Data": run.source or "not named",
        "Frames": f"{_size(run)}, {run.fps:g} per second",
    }
    return draw_list("about", items.items())


def _brief(run: RunFolder, score: ScoreRecord | None) -> str:
    """What the table rests on, in one line."""
    lengths = sorted({len(actions) for actions in run.actions.values()})
    predicted = " to ".join(str(n) for n in sorted({lengths[0], lengths[-1]}))
    parts = [
        counted(len(run.clips), "clip"),
        f"{predicted} predicted frame{'' if predicted == '1' else 's'} each",
    ]
    if score:
        tracker = score["protocol"].get("tracker") if "protocol" in score else None
        parts += [f"tracker {tracker.get('name')}"] if tracker else []
        parts += [f"protocol {p[:12]}"] if (p := score.get("fingerprint")) else []
    return ", ".join(parts)


def _size(run: RunFolder) -> str:
    """Width x height of the first clip, and how it is shown where the page makes it smaller."""
    height, width = run.frames(TRUTH, run.clips[0]).shape[1:3]
    scale = MAX_SIDE / max(height, width)
    shown = f", shown at {width * scale:.0f}x{height * scale:.0f}" if scale < 1 else ""
    return f"{width}x{height}{shown}"
