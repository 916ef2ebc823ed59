"""Predictions of the same clips, by two models or methods: the difference, and what it is about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.checks import checked, counted
from egowm.scs.apart import apart
from egowm.scs.bootstrap import MIN_RUNS, MIN_UNITS, interval, num_independent, two_level
from egowm.scs.record import ScoreRecord
from egowm.scs.result import UNITS, Result
from egowm.scs.score import mean_defined

SCORES = ("scs", "scs_davis", "scs_visible")


class Difference(NamedTuple):
    """B minus A over the clips that have a score in both, in points."""

    name: str
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None


class Comparison(NamedTuple):
    """What `compare` found; `warnings` are about environments that differ."""

    rows: tuple[Difference, ...]
    num_clips: int
    num_units: int
    unit: str
    num_runs: tuple[int, int]
    warnings: tuple[str, ...]


@checked
def compare_runs(a: Sequence[Path | str], b: Sequence[Path | str]) -> Comparison:
    """Bootstrap of B minus A over clips, clustered on trajectory; paired for one file of each.

    Several files of each are training runs of two methods, and runs are drawn too. Raises
    ValueError for scores of different protocols or clips, which cannot be compared, and for fewer
    than 3 runs of either, unless there is one of each.
    """
    if max(len(a), len(b)) > 1 and min(len(a), len(b)) < MIN_RUNS:
        raise ValueError(
            f"Expected at least {MIN_RUNS} training runs of each method, or one of each, got "
            f"{len(a)} and {len(b)}."
        )
    paths = [*a, *b]
    return compare_records(paths, [Result.load(path) for path in paths], len(a))


def compare_records(
    paths: Sequence[Path | str], records: Sequence[ScoreRecord], num_a: int = 1
) -> Comparison:
    """As `compare_runs`, of records that were read; paths: their names. `num_a` are A's."""
    for path, record in zip(paths[1:], records[1:], strict=True):
        _check_alike(paths[0], records[0], path, record)
    names = [clip["name"] for clip in records[0]["clips"]]
    recordings = [clip.get("trajectory") for clip in records[0]["clips"]]
    groups = None if None in recordings else [str(r) for r in recordings]
    found, defined = [], np.empty(0)
    for key in SCORES:
        values = np.array([_values(record, key, names) for record in records])
        values[:, np.isnan(values).any(axis=0)] = np.nan
        one, other = values[:num_a], values[num_a:]
        change = other.mean(axis=0) - one.mean(axis=0)
        a_mean, b_mean, mean = (float(mean_defined(v)) for v in (one, other, change))
        ci95 = interval(change, groups) if len(paths) == 2 else two_level(one, other, groups)
        found.append(Difference(key, a_mean, b_mean, mean, ci95))
        defined = change if key == "scs" else defined
    if np.isnan(defined).all():
        raise ValueError(
            f"{', '.join(map(str, paths))}: no clip has a score in all of them, because every "
            f"structure was left out of one: there is nothing to compare. `egowm-scs score` says "
            f"why."
        )
    return Comparison(
        rows=tuple(found),
        num_clips=int((~np.isnan(defined)).sum()),
        num_units=num_independent(defined, groups),
        unit="clips" if groups is None else "trajectories",
        num_runs=(num_a, len(paths) - num_a),
        warnings=tuple(
            line
            for record in records[1:]
            for line in differences(
                records[0].get("environment") or {}, record.get("environment") or {}
            )
        ),
    )


def _check_alike(a: Path | str, one: ScoreRecord, b: Path | str, other: ScoreRecord) -> None:
    if one["fingerprint"] != other["fingerprint"]:
        there, here = apart(one["protocol"], other["protocol"])
        raise ValueError(
            f"{a} and {b} were scored under different protocols, so their scores do not compare: "
            f"{there or 'one'} and {here or 'another'}. Score both alike."
        )
    first, second = ({clip["name"] for clip in record["clips"]} for record in (one, other))
    if missing := sorted(first ^ second):
        clips = counted(len(missing), "clip is", "clips are")
        raise ValueError(f"{clips} not in both files: {', '.join(missing[:10])}.")


def values_of(record: ScoreRecord) -> np.ndarray:
    """The clips' scores, NaN where undefined."""
    return np.array(_values(record, "scs", [clip["name"] for clip in record["clips"]]))


def _values(record: ScoreRecord, key: str, names: Sequence[str]) -> list[float]:
    """The clips' scores in the order of `names`, NaN where undefined."""
    found: dict[str, Any] = {clip["name"]: clip.get(key) for clip in record["clips"]}
    return [float("nan") if found[name] is None else float(found[name]) for name in names]


def format_comparison(found: Comparison) -> str:
    """The comparison as a few lines of text."""
    lines = [f"{'':<12}{'A':>8}{'B':>8}{'B - A':>8}"]
    for row in found.rows:
        interval_text = f"[{row.ci95[0]:+.1f}, {row.ci95[1]:+.1f}]" if row.ci95 else "no interval"
        if np.isnan(row.difference):  # no clip has this variant in both
            lines.append(f"{row.name:<12}{'-':>8}{'-':>8}{'-':>8}")
            continue
        numbers = f"{row.a:>8.1f}{row.b:>8.1f}{row.difference:>+8.1f}"
        lines.append(f"{row.name:<12}{numbers}   {interval_text}")
    runs = found.num_runs
    units = counted(found.num_units, UNITS[found.unit], found.unit)
    over = f"{units} ({counted(found.num_clips, 'clip')})"
    if found.num_units < MIN_UNITS:
        least = counted(MIN_UNITS, UNITS[found.unit], found.unit)
        lines.append(f"no interval below {least} ({found.num_units} here)")
    elif max(runs) > 1:
        lines.append(f"95% over {runs[0]} and {runs[1]} training runs, and over {over}")
    else:
        lines.append(f"95% over {over}, paired")
    if max(runs) == 1:
        lines.append(
            "This is about these two sets of videos. A claim about methods needs at least "
            f"{MIN_RUNS} training runs of each."
        )
    return "\n".join(lines)


def differences(a: Mapping[str, Any], b: Mapping[str, Any], where: str = "") -> list[str]:
    """Where two records differ, as text."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        name = f"{where}.{key}" if where else str(key)
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += differences(left, right, name)
        elif left != right:
            found.append(f"{name} {_short(left)} and {_short(right)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
