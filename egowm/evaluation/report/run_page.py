"""`egowm report RUN`: one HTML page, complete in itself, that shows what a model predicted.

Truth and predictions play in step beside the actions and the overlap over time, under the table of
scores. The page opens from disk without internet. Beside it, RUN/videos/ gets an mp4 per clip.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup
from tqdm import tqdm

from egowm.evaluation.report.clip_card import MAX_SIDE, draw_card
from egowm.evaluation.report.comparison_videos import write_comparison
from egowm.evaluation.report.page import fill, joined
from egowm.evaluation.report.score_table import (
    draw_empty_shares,
    draw_notes,
    draw_table,
    draw_warning,
    table_rows,
)
from egowm.evaluation.run_folder import TRUTH, RunError, RunFolder, read_run
from egowm.evaluation.scores import Scores, read_scores, scores_path
from egowm.files import FileKind, check_file, check_link, whole
from egowm.pixels import psnr

log = logging.getLogger(__name__)
PAGE = FileKind(
    "a page of egowm's", rb'<!DOCTYPE html>.{,200}<meta name="generator" content="egowm">'
)
_SCS_ORDERS = Markup(
    '<option value="worst">lowest SCS first</option><option value="best">highest SCS first</option>'
)
_UNSCORED = Markup(
    '<p class="warning">Not scored yet. Run <code>egowm-scs score RUN/pred RUN/gt --annotations '
    "RUN/annotations --tracker TRACKER --json RUN/scs.json</code> and make the report again.</p>"
)


def write_report(
    run: Path, output: Path | None = None, max_clips: int = 24, videos: bool = True
) -> Path:
    """Write the report of a run folder and return its path.

    run: what `egowm predict` wrote, scored or not. output: RUN/report.html by default.
    max_clips: how many clips the page embeds, worst first. videos: also write RUN/videos/*.mp4 of
    these clips. Raises `ValueError` (one line that says what to do) for a folder that does not fit,
    an OSError where the page would take the place of another file.
    """
    output = Path(run) / "report.html" if output is None else Path(output)
    check_file(output, PAGE)
    if videos:
        check_link(Path(run) / "videos")
    if max_clips < 1:
        raise ValueError(f"Expected at least 1 clip in the report, got --max-clips {max_clips}.")
    folder = read_run(Path(run))
    lengths = {clip: len(actions) + 1 for clip, actions in folder.actions.items()}
    scores = {
        v.folder: read_scores(scores_path(folder.path, v.folder), lengths) for v in folder.variants
    }
    _check_protocols(folder, scores)
    psnrs = {
        clip: _clip_psnrs(folder, clip)
        for clip in tqdm(folder.clips, desc="Report: reading clips", disable=None)
    }
    shown = _worst_first(folder, scores, psnrs)[:max_clips]
    cards = []
    for clip in tqdm(shown, desc="Report: drawing clips", disable=None):
        frames = folder.videos(clip)
        found = {f: s.clips[clip] for f, s in scores.items() if s and clip in s.clips}
        cards.append(draw_card(folder, clip, frames, found, psnrs[clip]))
        if videos:
            write_comparison(folder, clip, frames)
    page = _page(folder, scores, psnrs, cards)
    with whole(output) as temporary:
        temporary.write_text(page, "utf-8")
    return output


def _check_protocols(run: RunFolder, scores: Mapping[str, Scores | None]) -> None:
    """Only scores of one protocol stand in one table."""
    found = {f: s.fingerprint for f, s in scores.items() if s and s.fingerprint}
    if len(set(found.values())) > 1:
        names = ", ".join(f"{scores_path(run.path, f).name} {p[:12]}" for f, p in found.items())
        raise RunError(
            f"{run.path}: scored under different protocols ({names}). Score every prediction with "
            f"the same tracker, annotations and clips."
        )


def _clip_psnrs(run: RunFolder, clip: str) -> dict[str, float]:
    """PSNR of each variant, and of the first frame repeated, over frames 1..T of a clip."""
    videos = run.videos(clip)
    truth = videos.pop(TRUTH)
    found = {folder: psnr(video[1:], truth[1:]) for folder, video in videos.items()}
    return found | {"copy": psnr(truth[:1].repeat(len(truth) - 1, axis=0), truth[1:])}


def _worst_first(
    run: RunFolder, scores: Mapping[str, Scores | None], psnrs: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Clips by SCS of the first variant, ascending; those without a score last, by PSNR."""
    primary = run.variants[0].folder
    found = scores[primary]

    def key(clip: str) -> tuple[bool, float]:
        scs = found.clips[clip].scs if found and clip in found.clips else None
        return (scs is None, psnrs[clip][primary] if scs is None else scs)

    return sorted(run.clips, key=key)


def _page(
    run: RunFolder,
    scores: Mapping[str, Scores | None],
    psnrs: Mapping[str, Mapping[str, float]],
    cards: Sequence[Markup],
) -> str:
    """Fill the template."""
    labels = {v.folder: v.label for v in run.variants}
    means = {key: sum(row[key] for row in psnrs.values()) / len(psnrs) for key in (*labels, "copy")}
    rows = table_rows(labels, scores, means, len(run.clips))
    left_out = len(run.clips) - len(cards)
    first = next((s for s in scores.values() if s), None)
    values = {
        "title": run.title or run.model or "Predictions",
        "model": run.model or "not named",
        "source": run.source or "not named",
        "fps": f"{run.fps:g}",
        "last": max(len(actions) for actions in run.actions.values()),
        "table": draw_table(rows),
        "unscored": "" if first else _UNSCORED,
        "warning": draw_warning(first.warning if first else ""),
        "notes": draw_notes(rows),
        "empty": draw_empty_shares(labels, scores),
        "brief": _brief(run, first),
        "facts": _facts(run, first),
        "protocol": _protocol(first),
        "clip_count": f"{len(cards)} of {len(run.clips)} clips, the worst scored"
        if left_out
        else f"{len(cards)} clip{'s' if len(cards) != 1 else ''}",
        "left_out": f"{left_out} clips with higher scores are left out of this page; they count in "
        "the table."
        if left_out
        else "",
        "orders": _SCS_ORDERS if first else "",
        "columns": 1 + len(labels),
        "cards": joined(cards),
    }
    return fill("run_page.html", values)


def _brief(run: RunFolder, scores: Scores | None) -> str:
    """What the table rests on, in one line."""
    count = len(run.clips)
    parts = [f"{count} clip{'s' if count != 1 else ''}", f"{_lengths(run)} predicted frames each"]
    if scores and scores.tracker:
        parts.append(f"tracker {scores.tracker}")
    if scores and scores.fingerprint:
        parts.append(f"protocol {scores.fingerprint[:12]}")
    return ", ".join(parts)


def _lengths(run: RunFolder) -> str:
    lengths = sorted({len(actions) for actions in run.actions.values()})
    return " to ".join(str(n) for n in sorted({lengths[0], lengths[-1]}))


def _facts(run: RunFolder, scores: Scores | None) -> Markup:
    facts = {
        "Clips": str(len(run.clips)),
        "Frame size": _size(run),
        "Predicted frames": _lengths(run),
        "Frame rate": f"{run.fps:g} per second",
    }
    if scores:
        environment = ", ".join(f"{k} {v}" for k, v in scores.environment.items() if v)
        facts |= {
            "Tracker": scores.tracker,
            "Protocol fingerprint": scores.fingerprint,
            "Environment": environment,
        }
    items = (
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value)
        for name, value in facts.items()
        if value
    )
    return Markup('<dl class="facts">{}</dl>').format(joined(items))


def _size(run: RunFolder) -> str:
    """Width x height of the first clip, and how it is shown where the page makes it smaller."""
    height, width = run.frames(TRUTH, run.clips[0]).shape[1:3]
    scale = MAX_SIDE / max(height, width)
    shown = f", shown at {width * scale:.0f}x{height * scale:.0f}" if scale < 1 else ""
    return f"{width}x{height}{shown}"


def _protocol(scores: Scores | None) -> Markup:
    if not scores or not scores.protocol:
        return Markup("")
    text = json.dumps(scores.protocol, indent=2, ensure_ascii=False)
    return Markup('<h3>Protocol</h3><pre class="scroll" tabindex="0">{}</pre>').format(text)
