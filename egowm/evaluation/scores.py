"""Reading scs.json, as `egowm.scs` writes it, for the report: every key is optional."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egowm.evaluation.run_folder import PRIMARY, RunError
from egowm.scs.record import EXPECTED, ScoreRecord
from egowm.typed_json import read_json

MIN_CLIPS = 10  # below as many independent clips no interval is printed
Curve = tuple[float | None, ...]


@dataclass(frozen=True)
class Score:
    """One row of the table, 0 to 100; None where it was not measured."""

    scs: float | None = None
    davis: float | None = None
    visible: float | None = None
    normalised: float | None = None
    at: Mapping[int, float | None] = field(default_factory=dict)
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClipScore:
    """One clip: its SCS (0-100) and IoU (0-100) of every structure over frames 0..T."""

    scs: float | None
    curves: Mapping[int, Curve]


@dataclass(frozen=True)
class Scores:
    """What one scs.json holds."""

    row: Score
    copy: Score | None
    ceiling_codec: Score | None
    clips: Mapping[str, ClipScore]
    num_units: int  # independent clips, or recordings they were cut from
    unit: str  # "clips" or "recordings"
    empty_shares: Mapping[str, float]
    fingerprint: str
    tracker: str
    warning: str  # what a reader must know about the tracker
    protocol: Mapping[str, Any]
    environment: Mapping[str, Any]


def scores_path(run: Path, folder: str) -> Path:
    """Where the scores of a variant lie: scs.json for pred, scs_shuffled.json for pred_shuffled."""
    if folder == PRIMARY:
        return run / "scs.json"
    return run / f"scs_{folder.removeprefix(PRIMARY + '_')}.json"


def read_scores(path: Path, frames: Mapping[str, int]) -> Scores | None:
    """Read a scs.json, or None where there is none; `frames` is T + 1 for each clip.

    Raises `RunError` or `RecordError` for a file that is not one, and for curves of another length.
    """
    if not path.exists():
        return None
    expected = f"{EXPECTED} (score the run again)"
    found = read_json(path, ScoreRecord, expected, partial=True)
    try:
        return parse_scores(path, found, frames)
    except KeyError as error:
        raise RunError(f"{path}: expected {expected}; {error} is missing") from error


def parse_scores(path: Path, found: Mapping[str, Any], frames: Mapping[str, int]) -> Scores:
    """As `read_scores`, of what a file holds; `path` is what errors call it."""
    entries = found.get("clips") or []
    clips = {e["name"]: ClipScore(_number(e.get("scs")), _curves(path, e, frames)) for e in entries}
    if entries and set(clips) != set(frames):
        other = sorted(set(clips) ^ set(frames))
        raise RunError(
            f"{path}: {len(clips)} clips were scored, the run has {len(frames)}; {other[0]} is not "
            f"in both. Score the run again."
        )
    recordings = {e["trajectory"] for e in entries if e.get("trajectory") is not None}
    defined = [clip for clip in clips.values() if clip.scs is not None]
    protocol = found.get("protocol") or {}
    shares = found.get("empty_shares") or {}
    return Scores(
        row=_row(found),
        copy=_reference(found.get("copy")),
        ceiling_codec=_reference(found.get("ceiling_codec")),
        clips=clips,
        num_units=len(recordings) or len(defined) or int(found.get("num_clips") or 0),
        unit="recordings" if recordings else "clips",
        empty_shares={k: float(v) for k, v in shares.items() if v is not None},
        fingerprint=str(found.get("fingerprint") or ""),
        tracker=_tracker(found.get("tracker") or protocol.get("tracker")),
        warning=str(found.get("warning") or ""),
        protocol=protocol,
        environment=found.get("environment") or {},
    )


def _row(found: Mapping[str, Any]) -> Score:
    interval, share = found.get("ci95"), _number(found.get("normalised"))
    at = {int(k): _number(v) for k, v in (found.get("scs_at") or {}).items()}
    return Score(
        scs=_number(found.get("scs")),
        davis=_number(found.get("scs_davis")),
        visible=_number(found.get("scs_visible")),
        normalised=None if share is None else 100 * share,
        at=dict(sorted(at.items())),
        interval=(float(interval[0]), float(interval[1])) if interval else None,
    )


def _reference(found: Any) -> Score | None:
    """A reference row: a dictionary like the top level, or its SCS alone."""
    if found is None:
        return None
    return _row(found) if isinstance(found, dict) else Score(scs=_number(found))


def _curves(path: Path, entry: Mapping[str, Any], frames: Mapping[str, int]) -> dict[int, Curve]:
    """IoU (percent) per object; frame 0, which is not scored, comes as None."""
    name = entry["name"]
    curves = {}
    for item in entry.get("objects") or []:
        values = [_number(v) for v in item.get("iou") or []]
        expected = frames.get(name, len(values) + 1)
        if len(values) == expected - 1:
            values = [None, *values]
        if len(values) != expected:
            raise RunError(
                f"{path}: clip {name}: expected {expected - 1} IoU values per structure, got "
                f"{len(values)}. The scores are of other videos; score the run again."
            )
        curves[int(item["id"])] = tuple(values)
    return curves


def _number(value: Any) -> float | None:
    """A finite number, or None (JSON null and NaN: undefined)."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)


def _tracker(value: Any) -> str:
    """A tracker's name: alone, or in what the protocol says of it."""
    return str((value.get("name") if isinstance(value, Mapping) else value) or "")
