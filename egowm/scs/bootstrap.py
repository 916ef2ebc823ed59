"""Confidence intervals over clips, and over training runs and clips."""

from collections.abc import Sequence

import numpy as np

from egowm.checks import MOST_SEED, check_between, check_shape, checked

MIN_UNITS = 10
MIN_RUNS = 3  # of each method, below which nothing is claimed about methods
RESAMPLES, MOST_RESAMPLES = 10_000, 10_000_000
_BLOCK = 500  # resamples drawn at once, which bounds the memory


@checked
def interval(
    values: np.ndarray,
    groups: Sequence[str | int] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of `values (N,)`; NaN are left out.

    groups: what each value belongs to (its trajectory): whole groups are drawn, because values
    within one are not independent. None if there are fewer than 10 independent units.
    """
    check_shape("values", values, "N")
    _check_draws(values, level, resamples, seed)
    defined = ~np.isnan(values)
    unit, num_units = _units(defined, groups)
    if num_units < MIN_UNITS:
        return None
    sums = np.bincount(unit, weights=values[defined], minlength=num_units)
    counts = np.bincount(unit, minlength=num_units)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        drawn = rng.integers(num_units, size=(size, num_units))
        means[start : start + size] = sums[drawn].sum(1) / counts[drawn].sum(1)
    return _ends(means, level)


@checked
def two_level(
    a: np.ndarray,
    b: np.ndarray,
    groups: Sequence[str | int] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Interval of the mean of `b (Q, N)` minus that of `a (R, N)`: Q and R training runs, N clips.

    Runs are drawn anew within each method, and clips (or groups) anew for both at once, so it holds
    for other runs on other clips. A clip that is NaN in any run is left out. None below 3 runs of
    either, or 10 independent clips.
    """
    check_shape("a", a, "R N")
    _check_draws(np.append(a, b), level, resamples, seed)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"Expected runs on the same clips, got {a.shape} and {b.shape}.")
    defined = ~np.isnan(np.concatenate([a, b])).any(axis=0)
    unit, num_units = _units(defined, groups)
    if num_units < MIN_UNITS or min(len(a), len(b)) < MIN_RUNS:
        return None
    sums = [
        np.stack([np.bincount(unit, w, num_units) for w in runs[:, defined]]) for runs in (a, b)
    ]
    counts = np.bincount(unit, minlength=num_units)
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        clips = rng.multinomial(num_units, np.full(num_units, 1 / num_units), size)
        means = []
        for found in sums:
            runs = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), size)
            means.append((runs @ found * clips).sum(1) / (len(found) * (clips @ counts)))
        differences[start : start + size] = means[1] - means[0]
    return _ends(differences, level)


def _check_draws(values: np.ndarray, level: float, resamples: int, seed: int) -> None:
    if np.isinf(values).any():
        raise ValueError("Expected finite values, or NaN for those left out, got inf.")
    check_between("level", level, 1e-6, 1 - 1e-6)
    check_between("resamples", resamples, 1, MOST_RESAMPLES)
    check_between("seed", seed, 0, MOST_SEED)


def _units(defined: np.ndarray, groups: Sequence[str | int] | None) -> tuple[np.ndarray, int]:
    """The independent unit of every defined clip, counted from 0, and how many there are."""
    labels = np.arange(len(defined)) if groups is None else np.asarray(groups, dtype=str)
    if len(labels) != len(defined):
        raise ValueError(f"Expected one group per value, got {len(labels)} for {len(defined)}.")
    names, unit = np.unique(labels[defined], return_inverse=True)
    return unit, len(names)


def _ends(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def num_independent(values: np.ndarray, groups: Sequence[str | int] | None = None) -> int:
    """How many clips, or groups of clips, have a value."""
    defined = ~np.isnan(values)
    return int(defined.sum()) if groups is None else len(set(np.asarray(groups)[defined]))
