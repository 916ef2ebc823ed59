"""What a page says of a run: at its head, or in a section below."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from egowm.checks import counted
from egowm.evaluation.record import EvalRecord
from egowm.evaluation.report.clip_card import MAX_SIDE, anchor
from egowm.evaluation.report.metric_parts import draw_metrics
from egowm.evaluation.report.page import draw_list, draw_protocol, draw_warning, joined
from egowm.evaluation.report.run_scores import Scores, first_of
from egowm.evaluation.report.score_table import (
    draw_empty_shares,
    draw_notes,
    draw_table,
    table_rows,
)
from egowm.evaluation.run_folder import TRUTH, RunFolder
from egowm.scs.record import ScoreRecord

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
_LINK = Markup('<a href="#{}">{}</a>')
_SECTION = Markup(
    '<section id="{id}" aria-label="{title}"><div class="heading"><h2>{title}</h2></div>{header}'
    '{warning}<div class="scroll scores" tabindex="0" role="region" aria-label="{title}: scores">'
    "{table}</div>{brief}<details><summary>What the rows and columns mean, and the protocol"
    "</summary>{notes}{empty}{protocol}</details></section>{metrics}"
    '<section aria-label="{title}: clips"><div class="heading"><h2>{clip_count}</h2>'
    "<p>{title}. {pace}</p></div>"
    '<div class="cards" style="--columns: {columns}">{cards}</div></section>'
)


@dataclass(frozen=True)
class Part:
    """A run, read, with its clips drawn. psnrs: by clip and variant, "copy" of frame 0 repeated."""

    run: RunFolder
    scores: Scores
    psnrs: Mapping[str, Mapping[str, float]]
    cards: Sequence[Markup]
    metrics: EvalRecord | None


def draw_section(part: Part, page_fps: float) -> Markup:
    """A run below that of the page, which plays at page_fps frames a second."""
    fps = part.run.fps
    pace = f"Here they play at {page_fps:g} frames per second, as all of the page."
    said = described(part, of=_title(part.run))
    return _SECTION.format(id=_anchor(part), pace="" if fps == page_fps else pace, **said)


def draw_links(more: Sequence[Part]) -> Markup:
    """Where the runs below that of the page are."""
    links = Markup(", ").join(
        _LINK.format(_anchor(p), p.run.title or p.run.path.name) for p in more
    )
    return Markup('<p class="lead">Further down: {}.</p>').format(links) if more else Markup("")


def _anchor(part: Part) -> str:
    return anchor(part.run.path.name).replace("clip-", "run-", 1)


def described(part: Part, of: str = "") -> dict[str, object]:
    """What a page says of a run, at its head or in a section; of: its name, in a section."""
    run, metrics, first = part.run, part.metrics, first_of(part.scores)
    labels, shown = {v.folder: v.label for v in run.variants}, len(part.cards)
    each = part.psnrs.values()
    means = {key: sum(row[key] for row in each) / len(each) for key in (*labels, "copy")}
    rows = table_rows(labels, part.scores, {} if metrics else means)  # else it is in the metrics
    return {
        "title": _title(run),
        "header": _about(run),
        "warning": draw_warning(first.get("warning")) if first else _unscored(run),
        "table": draw_table(rows) if first or metrics is None else "",
        "notes": draw_notes(rows),
        "empty": draw_empty_shares(labels, part.scores, of),
        "brief": Markup('<p class="brief">{}</p>').format(_brief(run, first)),
        "metrics": draw_metrics(metrics, of),
        "columns": 1 + len(labels),
        "cards": joined(part.cards),
        "clip_count": f"{shown} of {counted(len(run.clips), 'clip')}"
        if shown < len(run.clips)
        else counted(shown, "clip"),
        "protocol": draw_protocol(first),
    }


def _title(run: RunFolder) -> str:
    return run.title or run.model or "Predictions"


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
