"""Confidence intervals over clips."""

from collections.abc import Sequence

import numpy as np

MIN_UNITS = 10
RESAMPLES = 10_000
_BLOCK = 500  # resamples drawn at once, which bounds the memory


def interval(
    values: np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean of `values (N,)`; NaN are left out.

    groups: what each value belongs to (its trajectory): whole groups are drawn, because values
    within one are not independent. None if there are fewer than 10 independent units.
    """
    defined = ~np.isnan(values)
    labels = np.arange(len(values)) if groups is None else np.asarray(groups, dtype=str)
    if len(labels) != len(values):
        raise ValueError(f"Expected one group per value, got {len(labels)} for {len(values)}.")
    names, unit = np.unique(labels[defined], return_inverse=True)
    num_units = len(names)
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
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def num_independent(values: np.ndarray, groups: Sequence[str] | None = None) -> int:
    """How many clips, or groups of clips, have a value."""
    defined = ~np.isnan(values)
    return int(defined.sum()) if groups is None else len(set(np.asarray(groups)[defined]))
