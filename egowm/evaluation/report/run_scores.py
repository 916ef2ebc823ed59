"""What is known of a run: its scores and metrics, each of the run's own clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from egowm.checks import counted
from egowm.evaluation.record import EvalRecord, load
from egowm.evaluation.report.clip_card import curves_of
from egowm.evaluation.run_folder import PRIMARY, RunError, RunFolder
from egowm.scs.record import ClipRecord, ScoreRecord
from egowm.scs.result import EXPECTED, Result

Scores = Mapping[str, ScoreRecord | None]  # of every variant's folder; None: not scored


def read_all(run: RunFolder) -> dict[str, ScoreRecord | None]:
    """The scores of all variants, of one protocol."""
    scores = {variant.folder: _read_scores(run, variant.folder) for variant in run.variants}
    _check_protocols(run, scores)
    return scores


def read_metrics(run: RunFolder) -> EvalRecord | None:
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


def clips_of(score: ScoreRecord | None) -> Sequence[ClipRecord]:
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
        _check_clips(clips_of(score), run)
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


def first_of(scores: Scores) -> ScoreRecord | None:
    """The scores of the first variant that has some."""
    return next((score for score in scores.values() if score), None)
