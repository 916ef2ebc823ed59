"""The record of one scoring: what `scs.json` holds.

Every score and IoU is in percent, shares and coverage are in [0, 1], null is undefined.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.scs.bootstrap import MIN_UNITS, interval, num_independent
from egowm.scs.protocol import fingerprint
from egowm.scs.score import HORIZONS, Overlap, Summary, clip_score, summarise

_MIN_RANGE = 10.0  # between copy and ceiling, for a normalised score


class Row(NamedTuple):
    """One line of the table."""

    summary: Summary
    ci95: tuple[float, float] | None  # over clips; None below 10 independent ones

    @property
    def scs(self) -> float:
        """The headline."""
        return self.summary.scs


@dataclass(frozen=True, eq=False)
class ClipResult:
    """One clip of the prediction."""

    name: str
    trajectory: str | None  # the recording it was cut from, if known
    ids: tuple[int, ...]
    overlap: Overlap
    evidence: np.ndarray  # (O, T)

    def to_json(self) -> dict[str, Any]:
        """Its scores; per object and frame the IoU (null: both masks empty), case and evidence."""
        iou, case = self.overlap.iou(), self.overlap.case
        objects = [
            {
                "id": number,
                "scs": _number(clip_score(iou[k : k + 1])),
                "iou": _numbers(100 * iou[k]),
                "case": case[k].tolist(),
                "lost": int(self.overlap.lost[k].sum()),
                "evidence": _numbers(self.evidence[k]),
            }
            for k, number in enumerate(self.ids)
        ]
        return {
            "name": self.name,
            "trajectory": self.trajectory,
            "num_frames": iou.shape[1],
            "scs": _number(clip_score(iou)),
            "coverage": _numbers(self.overlap.covered / self.overlap.num_pixels),
            "objects": objects,
        }


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

    @property
    def scs(self) -> float:
        """The headline score, 0..100."""
        return self.prediction.scs

    @property
    def fingerprint(self) -> str:
        """Of the protocol."""
        return fingerprint(self.protocol)

    @property
    def normalised(self) -> float | None:
        """(score - copy) / (ceiling - copy); None without a ceiling, or one within 10 of copy."""
        if self.ceiling_codec is None:
            return None
        span = self.ceiling_codec.scs - self.copy.scs
        return (self.scs - self.copy.scs) / span if span >= _MIN_RANGE else None

    @property
    def interval_text(self) -> str:
        """The interval, or why there is none."""
        if self.prediction.ci95 is None:
            return f"no interval: {self.num_units} {self.unit} < {MIN_UNITS}"
        low, high = self.prediction.ci95
        return f"[{low:.1f}, {high:.1f}] 95% over {self.num_units} {self.unit}"

    def to_json(self) -> str:
        """The content of `scs.json`."""
        summary = self.prediction.summary
        ceiling = None if self.ceiling_codec is None else _row(self.ceiling_codec)
        record = {
            **_row(self.prediction),
            "copy": _row(self.copy),
            "ceiling_codec": ceiling,
            "normalised": _number(self.normalised),
            "pooled": _number(summary.pooled),
            "object_counts": {str(k): n for k, n in summary.object_counts.items()},
            "coverage": _horizons(summary.coverage),
            "lost": {"prediction": summary.num_lost, "truth": self.num_lost_truth},
            "num_clips": len(self.clips),
            "warning": self.warning,
            "clips": [clip.to_json() for clip in self.clips],
            "protocol": self.protocol,
            "environment": self.environment,
            "fingerprint": self.fingerprint,
        }
        # One line per entry: lists of numbers would otherwise take a line per number.
        lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record.items()]
        return "{\n" + ",\n".join(lines) + "\n}"

    def save(self, path: str | Path) -> None:
        """Write `to_json()`, whole or not at all."""
        path = Path(path)
        temporary = path.with_name(f".{os.getpid()}-{path.name}.tmp")
        try:
            temporary.write_text(self.to_json() + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def make_row(overlaps: Sequence[Overlap], groups: Sequence[str] | None) -> Row:
    """Summary and interval of one row; groups: the trajectory of each clip, if known."""
    summary = summarise(overlaps)
    return Row(summary, interval(summary.clip_scs, groups))


def independent_units(row: Row, groups: Sequence[str] | None) -> int:
    """How many independent clips or trajectories the interval of a row rests on."""
    return num_independent(row.summary.clip_scs, groups)


def _row(row: Row) -> dict[str, Any]:
    summary = row.summary
    return {
        "scs": _number(summary.scs),
        "ci95": None if row.ci95 is None else [_number(end) for end in row.ci95],
        "scs_davis": _number(summary.scs_davis),
        "scs_visible": _number(summary.scs_visible),
        "empty_shares": {k: _number(v) for k, v in summary.empty_shares._asdict().items()},
        "scs_at": _horizons(summary.scs_at),
        "iou_at": _horizons(summary.iou_at),
    }


def _horizons(values: dict[int, float]) -> dict[str, float | None]:
    return {str(k): _number(values[k]) for k in HORIZONS}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float | None) -> float | None:
    """JSON has no NaN; four decimals are more than a score means."""
    return None if value is None or np.isnan(value) else round(value, 4)
