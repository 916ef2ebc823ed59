"""The record of one scoring: what `scs.json` holds (its types: `egowm.scs.record`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from egowm.checks import counted
from egowm.files import whole
from egowm.scs.bootstrap import MIN_UNITS, interval
from egowm.scs.clip_result import ClipResult, Remarks, number, remarks
from egowm.scs.protocol import fingerprint
from egowm.scs.reanchor import Reanchored
from egowm.scs.record import ScoreRecord
from egowm.scs.score import HORIZONS, Overlap, Summary, by_clip, mean_defined, summarise
from egowm.typed_json import read_json

EXPECTED = "what `egowm-scs score --json` writes (score again)"
UNITS = {"clips": "clip", "trajectories": "trajectory"}  # as `unit` names them, and one
_MIN_RANGE = 10.0  # between copy and ceiling, for a normalised score


class Row(NamedTuple):
    """One line of the table."""

    summary: Summary
    ci95: tuple[float, float] | None  # over clips; None below 10 independent ones

    @property
    def scs(self) -> float:
        """The headline."""
        return self.summary.scs


class Tercile(NamedTuple):
    """A third of the clips, by true motion."""

    motion_from: float
    motion_to: float
    num_clips: int
    scs: float
    copy: float


@dataclass(frozen=True, eq=False)
class Result:
    """Scores of a set of predictions, with the rows to read them by."""

    prediction: Row
    copy: Row  # frame 0's masks repeated
    ceiling_codec: Row | None  # the truth through a codec or VAE
    clips: Sequence[ClipResult]
    num_units: int  # independent clips, or trajectories
    unit: str  # "clips" or "trajectories"
    num_lost_truth: int  # frames of objects in which the truth's own track has no evidence
    protocol: dict[str, Any]
    environment: dict[str, Any]
    warning: str = ""  # what a reader must know about the tracker
    ceiling_tracker: Row | None = None  # the truth tracked anew from its middle
    reanchored: Reanchored | None = None  # with structures annotated anew on the way

    @property
    def scs(self) -> float:
        """The headline score, 0..100."""
        return self.prediction.scs

    @property
    def fingerprint(self) -> str:
        """Of the protocol."""
        return fingerprint(self.protocol)

    @property
    def ceiling(self) -> Row | None:
        """The codec's, else the tracker's."""
        return self.ceiling_codec or self.ceiling_tracker

    @property
    def normalised(self) -> float | None:
        """(score - copy) / (ceiling - copy); None without a ceiling, or one within 10 of copy."""
        if self.ceiling is None:
            return None
        span = self.ceiling.scs - self.copy.scs
        return (self.scs - self.copy.scs) / span if span >= _MIN_RANGE else None

    @property
    def terciles(self) -> list[Tercile]:
        """Clips in three groups of rising true motion (100 minus the clip's copy score)."""
        copy = np.array([clip.copy for clip in self.clips])
        scores = self.prediction.summary.clip_scs
        return [
            Tercile(
                float(100 - copy[group].max()), float(100 - copy[group].min()), len(group), *found
            )
            for group, found in terciles(100 - copy, scores, copy)
        ]

    @property
    def remarks(self) -> Remarks:
        """Direction, distance and outlines, averaged as the score is."""
        pairs = [(k, s) for k, clip in enumerate(self.clips) for s in clip.samples]
        clips = np.array([k for k, _ in pairs], int)
        rows = np.array([remarks(s.geometry, s.overlap.iou()) for _, s in pairs]).reshape(-1, 5)
        return Remarks(*(float(mean_defined(by_clip(column, clips))) for column in rows.T))

    @property
    def interval_text(self) -> str:
        """The interval, or why there is none."""
        units = counted(self.num_units, UNITS[self.unit], self.unit)
        if self.prediction.ci95 is None:
            least = counted(MIN_UNITS, UNITS[self.unit], self.unit)
            return f"no interval below {least} ({self.num_units} here)"
        low, high = self.prediction.ci95
        return f"[{low:.1f}, {high:.1f}] 95% over {units}"

    def record(self) -> ScoreRecord:
        """What `scs.json` says."""
        summary = self.prediction.summary
        codec, again = self.ceiling_codec, self.ceiling_tracker
        found = {
            **_row(self.prediction),
            "copy": _row(self.copy),
            "ceiling_codec": None if codec is None else _row(codec),
            "ceiling_tracker": None if again is None else _row(again),
            "scs_reanchored": None if self.reanchored is None else self.reanchored.to_json(),
            "normalised": number(self.normalised),
            "pooled": number(summary.pooled),
            "object_counts": {str(k): n for k, n in summary.object_counts.items()},
            "coverage": _horizons(summary.coverage),
            "lost": {"prediction": summary.num_lost, "truth": self.num_lost_truth},
            "num_clips": len(self.clips),
            "remarks": {k: number(v) for k, v in self.remarks._asdict().items()},
            "terciles": [
                {k: number(v) for k, v in group._asdict().items()} for group in self.terciles
            ],
            "doubtful": sum(len(clip.doubtful) for clip in self.clips),
            "warning": self.warning,
            "clips": [clip.to_json() for clip in self.clips],
            "protocol": self.protocol,
            "environment": self.environment,
            "fingerprint": self.fingerprint,
        }
        return cast(ScoreRecord, found)

    def to_json(self) -> str:
        """The content of `scs.json`."""
        # One line per entry: lists of numbers would otherwise take a line per number.
        entries = self.record().items()
        lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in entries]
        return "{\n" + ",\n".join(lines) + "\n}"

    def save(self, path: str | Path) -> None:
        """Write `to_json()`, whole or not at all."""
        write_whole(Path(path), self.to_json() + "\n")

    @staticmethod
    def load(path: str | Path, partial: bool = False) -> ScoreRecord:
        """What `save` wrote, as `record` gave it, checked key by key.

        partial: keys may be missing. Raises RecordError, one line that names file and key.
        """
        found: ScoreRecord = read_json(Path(path), ScoreRecord, EXPECTED, partial)
        return found


def write_whole(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with whole(path) as temporary:  # names of files can have bytes that are no text
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def make_row(
    overlaps: Sequence[Overlap],
    groups: Sequence[str] | None,
    clips: Sequence[int] | None = None,
) -> Row:
    """Summary and interval of one row.

    groups: the trajectory of each clip, if known; clips: the clip of each video, as `summarise`.
    """
    summary = summarise(overlaps, clips)
    return Row(summary, interval(summary.clip_scs, groups))


def terciles(motion: np.ndarray, *rows: np.ndarray) -> list[tuple[np.ndarray, list[float]]]:
    """Clips in three groups of rising true motion: their numbers, and the mean of each of `rows`.

    motion: (N,), NaN for clips left out. Fewer than three clips give no groups.
    """
    order = np.argsort(motion, kind="stable")
    order = order[~np.isnan(motion[order])]
    if len(order) < 3:
        return []
    groups = np.array_split(order, 3)
    return [(group, [float(mean_defined(row[group])) for row in rows]) for group in groups]


def _row(row: Row) -> dict[str, Any]:
    summary = row.summary
    return {
        "scs": number(summary.scs),
        "ci95": None if row.ci95 is None else [number(end) for end in row.ci95],
        "scs_davis": number(summary.scs_davis),
        "scs_visible": number(summary.scs_visible),
        "empty_shares": {k: number(v) for k, v in summary.empty_shares._asdict().items()},
        "scs_at": _horizons(summary.scs_at),
        "iou_at": _horizons(summary.iou_at),
    }


def _horizons(values: dict[int, float]) -> dict[str, float | None]:
    return {str(k): number(values[k]) for k in HORIZONS}
