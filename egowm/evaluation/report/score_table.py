"""The table at the top of a page: one row per prediction, then the reference rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from egowm.checks import counted
from egowm.evaluation.report.page import draw_grid, draw_list, prefixed
from egowm.pixels import PSNR_LIMIT
from egowm.scs.record import RowRecord, ScoreRecord

_MEANINGS = {
    "": "The videos that were scored.",
    "pred": "The model given the recorded actions.",
    "pred_shuffled": "The same model given the actions of another clip: a model that obeys falls.",
    "pred_zero": "The same model told to stand still.",
    "pred_null": "The same model with the learned embedding for 'no action'.",
    "pred_mirrored": "The same model with sideways motion and turns mirrored.",
    "pred_mean": "The same model given the mean action at every step.",
}
COPY, CODEC, TRACKER = "Copy of the first frame", "Codec ceiling", "Tracker ceiling"
_REFERENCES = {
    COPY: "The first frame repeated. Not a lower bound: moving the wrong way scores below it. A "
    "prediction at its height has not shown that it follows the actions.",
    CODEC: "The true video through the model's autoencoder: the most that this model can show.",
    TRACKER: "The true video tracked anew from its middle: what tracking alone loses.",
}
_CASES = {
    "both_present": "in both videos",
    "pred_empty": "only in the truth",
    "target_empty": "only in the prediction",
    "both_empty": "in neither",
}
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
    score: RowRecord
    psnr: float | None
    rests_on: str  # "12 clips"

    @property
    def scs(self) -> float | None:
        """The headline; None where it was not measured."""
        return self.score.get("scs")


def table_rows(
    labels: Mapping[str, str],
    scores: Mapping[str, ScoreRecord | None],
    psnrs: Mapping[str, float],
) -> list[Row]:
    """All rows in reading order; copy comes first where the first row has no interval.

    labels: folder -> label, the first is the primary. psnrs: folder or "copy" -> dB, where known.
    """
    rows = []
    for folder, label in labels.items():
        score = scores.get(folder)
        meaning = _MEANINGS.get(folder, "Another prediction of the same clips.")
        rests_on = units(score) if score else ""
        known = score or RowRecord()
        rows.append(Row(label, meaning, "model", known, psnrs.get(folder), rests_on))
    first = next((score for score in scores.values() if score), None)
    copy = (first.get("copy") if first else None) or RowRecord()
    around = [Row(COPY, _REFERENCES[COPY], "reference", copy, psnrs.get("copy"), "")]
    ceilings = (first.get("ceiling_codec"), first.get("ceiling_tracker")) if first else ()
    for label, ceiling in zip((CODEC, TRACKER), ceilings, strict=False):
        if ceiling is not None:
            around.append(Row(label, _REFERENCES[label], "reference", ceiling, None, ""))
    if first and first.get("ci95"):
        return rows + around
    return [around[0], *rows, *around[1:]]


def units(record: ScoreRecord) -> str:
    """What an interval rests on: clips, or the recordings that they were cut from ("12 clips")."""
    clips = record.get("clips") or []
    recordings = {clip["trajectory"] for clip in clips if clip.get("trajectory") is not None}
    scored = sum(clip.get("scs") is not None for clip in clips)
    count = len(recordings) or scored or record.get("num_clips") or 0
    return counted(count, "recording" if recordings else "clip")


def draw_table(rows: Sequence[Row]) -> Markup:
    """The table as HTML; columns that no row fills are left out."""
    columns, cells = _filled(rows)
    body = [
        ((row.label, row.meaning, row.role), values)
        for row, values in zip(rows, cells, strict=True)
    ]
    return draw_grid([("Video", ""), *columns], body)


def draw_notes(rows: Sequence[Row]) -> Markup:
    """Rows and columns of the table explained, as a definition list."""
    named = [(row.label, row.meaning) for row in rows]
    return draw_list("notes", [*named, *_filled(rows)[0]])


def _filled(rows: Sequence[Row]) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """The columns that a row fills, with what they mean, and their cells by row."""
    horizons = sorted({int(k) for row in rows for k in row.score.get("scs_at") or {}})
    cells = [[_scs_cell(row), *_numbers(row, horizons)] for row in rows]
    columns = [*COLUMNS.items()]
    columns += [(f"@{k}", f"SCS over the first {counted(k, 'predicted frame')}") for k in horizons]
    keep = [j for j in range(len(columns)) if any(row[j] for row in cells)]
    return [columns[j] for j in keep], [[values[j] for j in keep] for values in cells]


def draw_empty_shares(
    labels: Mapping[str, str], scores: Mapping[str, ScoreRecord | None], of: str = ""
) -> Markup:
    """How often masks were empty, per prediction; "" where no scores say so.

    of: the run, below that of the page.
    """
    shares = {
        labels[folder]: {case: share for case, share in empty.items() if share is not None}
        for folder, score in scores.items()
        if score and (empty := score.get("empty_shares"))
    }
    if not shares:
        return Markup("")
    named = {case for row in shares.values() for case in row}
    cases = [case for case in _CASES if case in named] + sorted(named - set(_CASES))
    body = [
        ((label, "", ""), [f"{100 * row[case]:.1f}%" if case in row else "" for case in cases])
        for label, row in shares.items()
    ]
    return Markup(
        "<h3>Where structures were visible, share of structures and frames</h3>"
        '<div class="scroll" tabindex="0" role="region" aria-label="{}Shares of empty masks">'
        "{}</div>"
    ).format(
        prefixed(of),
        draw_grid([("Video", ""), *((_CASES.get(case, case), "") for case in cases)], body),
    )


def number(value: float | None) -> str:
    """One decimal, or nothing."""
    return "" if value is None else f"{value:.1f}"


def _numbers(row: Row, horizons: Sequence[int]) -> list[str]:
    score, share = row.score, row.score.get("normalised")
    at = {int(k): value for k, value in (score.get("scs_at") or {}).items()}
    plain = [score.get("scs_davis"), score.get("scs_visible")]
    plain += [None if share is None else 100 * share, row.psnr]
    return [number(value) for value in (*plain, *map(at.get, horizons))]


def _scs_cell(row: Row) -> Markup:
    """SCS as a number, its interval, and a bar from 0 to 100."""
    value, interval = row.scs, row.score.get("ci95")
    if value is None:
        return Markup("")
    note, whisker = "", Markup("")
    if interval:
        low, high = interval
        note = f"[{low:.1f}, {high:.1f}]"
        whisker = Markup(
            '<path class="whisker" d="M{low:.1f} 1 v6 M{high:.1f} 1 v6 M{low:.1f} 4 H{high:.1f}"/>'
        ).format(low=low, high=high)
    elif row.role == "model":
        note = f"no interval ({row.rests_on})"
    return Markup(
        '<b>{:.1f}</b> <small>{}</small><svg class="bar" viewBox="0 0 100 8" '
        'preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8"/>'
        '<rect class="value" width="{:.1f}" height="8"/>{}</svg>'
    ).format(value, note, min(max(value, 0), 100), whisker)
