"""The table at the top of the report: one row per prediction, then the reference rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from egowm.evaluation.report.page import joined
from egowm.evaluation.scores import MIN_CLIPS, Score, Scores
from egowm.pixels import PSNR_LIMIT

_MEANINGS = {
    "pred": "The model given the recorded actions.",
    "pred_shuffled": "The same model given the actions of another clip: a model that obeys falls.",
    "pred_zero": "The same model told to stand still.",
    "pred_null": "The same model with the learned embedding for 'no action'.",
    "pred_mirrored": "The same model with sideways motion and turns mirrored.",
    "pred_mean": "The same model given the mean action at every step.",
}
_CASES = {
    "both_present": "in both videos",
    "pred_empty": "only in the truth",
    "target_empty": "only in the prediction",
    "both_empty": "in neither",
}
_COPY = (
    "The first frame repeated. Not a lower bound: moving the wrong way scores below it. A "
    "prediction at its height has not shown that it follows the actions."
)
_CEILING = "The true video through the model's autoencoder: the most that this model can show."
_NOTHING = Markup("&ndash;")
COLUMNS = {
    "SCS": "Overlap of structures, 0 to 100, averaged over frames, structures, then clips; frames "
    "in which a structure is absent from both videos are left out. In brackets the 95% interval "
    "over clips",
    "SCS (DAVIS)": "The same, but a structure absent from both videos counts as 100",
    "SCS (visible)": "The same, over the frames in which the true structure is visible",
    "Normalised": "Where the score lies between copy (0) and codec ceiling (100)",
    "PSNR": "Peak signal-to-noise ratio in dB over frames 1 to T, averaged per clip, then over "
    f"clips; identical frames count as {PSNR_LIMIT:.0f}",
}


@dataclass(frozen=True)
class Row:
    """A row before it is drawn; `role` is "model" or "reference"."""

    label: str
    meaning: str
    role: str
    score: Score
    psnr: float | None
    rests_on: str  # "12 clips"


def table_rows(
    labels: Mapping[str, str],
    scores: Mapping[str, Scores | None],
    psnrs: Mapping[str, float],
    num_clips: int,
) -> list[Row]:
    """All rows in reading order; copy comes first where the clips are too few for an interval.

    labels: folder -> label, the first is the primary. psnrs: folder or "copy" -> dB.
    """
    rows = []
    for folder, label in labels.items():
        found = scores.get(folder)
        score, units = (found.row, _units(found)) if found else (Score(), "")
        meaning = _MEANINGS.get(folder, "Another prediction of the same clips.")
        rows.append(Row(label, meaning, "model", score, psnrs[folder], units))
    first = next((s for s in scores.values() if s), None)
    copy = first.copy if first and first.copy else Score()
    units = _units(first) if first else ""
    copy_row = Row("Copy of the first frame", _COPY, "reference", copy, psnrs["copy"], units)
    count = first.num_units if first else num_clips
    rows.insert(0 if count < MIN_CLIPS else len(rows), copy_row)
    if first and first.ceiling_codec:
        ceiling = first.ceiling_codec
        rows.append(Row("Codec ceiling", _CEILING, "reference", ceiling, None, units))
    return rows


def _units(scores: Scores) -> str:
    return f"{scores.num_units} {scores.unit if scores.num_units != 1 else scores.unit[:-1]}"


def draw_table(rows: Sequence[Row]) -> Markup:
    """The table as HTML; columns that no row fills are left out."""
    horizons = sorted({k for row in rows for k in row.score.at})
    cells = [[_scs_cell(r), *_numbers(r, horizons)] for r in rows]
    heads = [*COLUMNS.items()]
    heads += [(f"@{k}", f"SCS over the first {k} predicted frames") for k in horizons]
    keep = [j for j in range(len(heads)) if any(row[j] for row in cells)]
    head = joined(
        Markup('<th scope="col" title="{}">{}</th>').format(heads[j][1], heads[j][0]) for j in keep
    )
    body = []
    for row, values in zip(rows, cells, strict=True):
        data = joined(Markup("<td>{}</td>").format(values[j] or _NOTHING) for j in keep)
        body.append(
            Markup('<tr class="{}"><th scope="row" title="{}">{}</th>{}</tr>').format(
                row.role, row.meaning, row.label, data
            )
        )
    return _table(head, body)


def _table(head: Markup, body: Sequence[Markup]) -> Markup:
    return Markup(
        '<table><thead><tr><th scope="col">Video</th>{}</tr></thead><tbody>{}</tbody></table>'
    ).format(head, joined(body))


def draw_notes(rows: Sequence[Row]) -> Markup:
    """Rows and columns explained, as a definition list."""
    named = [(row.label, row.meaning) for row in rows] + list(COLUMNS.items())
    named.append(("@k", "SCS over the first k predicted frames"))
    items = joined(
        Markup("<div><dt>{}</dt><dd>{}.</dd></div>").format(name, text.rstrip("."))
        for name, text in named
    )
    return Markup('<dl class="notes">{}</dl>').format(items)


def draw_empty_shares(labels: Mapping[str, str], scores: Mapping[str, Scores | None]) -> Markup:
    """How often masks were empty, per prediction; "" where no scores say so."""
    found = {f: s.empty_shares for f, s in scores.items() if s and s.empty_shares}
    if not found:
        return Markup("")
    named = {case for shares in found.values() for case in shares}
    cases = [case for case in _CASES if case in named] + sorted(named - set(_CASES))
    head = joined(
        Markup('<th scope="col">{}</th>').format(_CASES.get(case, case)) for case in cases
    )
    body = []
    for folder, shares in found.items():
        texts = [f"{100 * shares[case]:.1f}%" if case in shares else _NOTHING for case in cases]
        data = joined(Markup("<td>{}</td>").format(text) for text in texts)
        body.append(Markup('<tr><th scope="row">{}</th>{}</tr>').format(labels[folder], data))
    return Markup(
        "<h3>Where structures were visible, share of structures and frames</h3>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Shares of empty masks">'
        "{}</div>"
    ).format(_table(head, body))


def draw_warning(text: str) -> Markup:
    """What a reader must know before the table; empty without a text."""
    return Markup('<p class="warning">{}</p>').format(text) if text else Markup("")


def number(value: float | None) -> str:
    """One decimal, or nothing."""
    return "" if value is None else f"{value:.1f}"


def _numbers(row: Row, horizons: Sequence[int]) -> list[str]:
    score = row.score
    plain = [score.davis, score.visible, score.normalised, row.psnr]
    return [number(v) for v in plain] + [number(score.at.get(k)) for k in horizons]


def _scs_cell(row: Row) -> Markup:
    """SCS as a number, its interval, and a bar from 0 to 100."""
    value, interval = row.score.scs, row.score.interval
    if value is None:
        return Markup("")
    if interval:
        note = f"[{interval[0]:.1f}, {interval[1]:.1f}]"
    elif row.role == "model":
        note = f"no interval ({row.rests_on})"
    else:
        note = ""
    whisker = Markup("")
    if interval:
        whisker = Markup(
            '<path class="whisker" d="M{low:.1f} 1 v6 M{high:.1f} 1 v6 M{low:.1f} 4 H{high:.1f}"/>'
        ).format(low=interval[0], high=interval[1])
    return Markup(
        '<b>{:.1f}</b> <small>{}</small><svg class="bar" viewBox="0 0 100 8" '
        'preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8"/>'
        '<rect class="value" width="{:.1f}" height="8"/>{}</svg>'
    ).format(value, note, min(max(value, 0), 100), whisker)
