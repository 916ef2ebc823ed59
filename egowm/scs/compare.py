"""Two predictions of the same clips: the paired difference, and whether it may be claimed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.scs.bootstrap import MIN_UNITS, interval, num_independent
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
    warnings: tuple[str, ...]


def compare_files(a: Path, b: Path) -> Comparison:
    """Paired bootstrap of B minus A over clips, clustered on trajectory.

    Raises ValueError for scores of different protocols or clips, which cannot be compared.
    """
    one, other = read_record(a), read_record(b)
    if one["fingerprint"] != other["fingerprint"]:
        raise ValueError(
            f"{a} and {b} were scored under different protocols, so their scores do not compare: "
            f"{'; '.join(_differences(one['protocol'], other['protocol'])) or 'fingerprints'}. "
            f"Score both alike."
        )
    first, second = ({clip["name"]: clip for clip in r["clips"]} for r in (one, other))
    if first.keys() != second.keys():
        apart = sorted(first.keys() ^ second.keys())
        raise ValueError(f"{len(apart)} clips are not in both files: {', '.join(apart[:10])}.")
    recordings = [first[name].get("trajectory") for name in first]
    groups = None if None in recordings else [str(r) for r in recordings]
    found, paired = [], np.empty(0)
    for key in SCORES:
        pairs = np.array([[c[name].get(key) for c in (first, second)] for name in first], float)
        pairs[np.isnan(pairs).any(axis=1)] = np.nan
        change = pairs[:, 1] - pairs[:, 0]
        a_mean, b_mean, mean = (float(mean_defined(values)) for values in (*pairs.T, change))
        found.append(Difference(key, a_mean, b_mean, mean, interval(change, groups)))
        paired = change if key == "scs" else paired
    return Comparison(
        tuple(found),
        int((~np.isnan(paired)).sum()),
        num_independent(paired, groups),
        "clips" if groups is None else "trajectories",
        tuple(_differences(one.get("environment") or {}, other.get("environment") or {})),
    )


def read_record(path: Path) -> dict[str, Any]:
    """A scs.json, with the keys that a comparison needs."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        clips = record["clips"]
        if not all(isinstance(clip["name"], str) and "scs" in clip for clip in clips):
            raise ValueError("a clip without name or score")
        if not isinstance(record["fingerprint"], str) or not isinstance(record["protocol"], dict):
            raise ValueError("no protocol")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected what `egowm-scs score --json` writes, got {type(error).__name__} "
            f"{error}."
        ) from error
    return record


def format_comparison(found: Comparison) -> str:
    """The comparison as a few lines of text."""
    lines = [f"{'':<12}{'A':>8}{'B':>8}{'B - A':>8}"]
    for row in found.rows:
        interval_text = f"[{row.ci95[0]:+.1f}, {row.ci95[1]:+.1f}]" if row.ci95 else "no interval"
        numbers = f"{row.a:>8.1f}{row.b:>8.1f}{row.difference:>+8.1f}"
        lines.append(f"{row.name:<12}{numbers}   {interval_text}")
    if found.num_units < MIN_UNITS:
        lines.append(f"no interval: {found.num_units} {found.unit} < {MIN_UNITS}")
    else:
        lines.append(f"95% over {found.num_units} {found.unit} ({found.num_clips} clips), paired")
    lines.append(
        "This is about these two sets of videos. A claim about methods needs at least 3 training "
        "runs of each."
    )
    return "\n".join(lines)


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], where: str = "") -> list[str]:
    """Where two records differ, as text."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        name = f"{where}.{key}" if where else str(key)
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += _differences(left, right, name)
        elif left != right:
            found.append(f"{name} {_short(left)} and {_short(right)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
