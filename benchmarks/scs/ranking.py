"""How well a score ranks predictions as the exact one does; intervals draw clips anew."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.planning.rank_agreement import tau_b
from benchmarks.scs.truth import rank_correlation
from egowm.scs.score import mean_defined

RESAMPLES = 1000
Statistic = Callable[[np.ndarray, np.ndarray], float]


class Found(NamedTuple):
    """A statistic of a score, and 95 % of it over clips drawn anew; None where it is undefined."""

    value: float | None
    interval: tuple[float, float] | None


def pooled(score: np.ndarray, exact: np.ndarray) -> float:
    """Spearman's correlation over cases and clips, of (cases, clips); undefined ones left out."""
    found = rank_correlation(score.ravel(), exact.ravel())
    return np.nan if found is None else found


def within(score: np.ndarray, exact: np.ndarray) -> float:
    """Kendall's tau-b over the cases of a clip, averaged over clips: does it rank predictions of
    one clip as they should be?"""
    return float(mean_defined(taus(score, exact)))


def taus(score: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """That of each clip, (clips,); NaN for a clip of which fewer than 3 cases are defined."""
    found = np.full(score.shape[1], np.nan)
    for k, (ours, true) in enumerate(zip(score.T, exact.T, strict=True)):
        known = ~(np.isnan(ours) | np.isnan(true))
        if known.sum() >= 3:
            found[k] = tau_b(ours[known].round(9), true[known].round(9))
    return found


def of_means(score: np.ndarray, exact: np.ndarray) -> float:
    """Spearman's correlation over cases, each the mean over the clips that both define."""
    both = np.isnan(score) | np.isnan(exact)
    means = [mean_defined(np.where(both, np.nan, x), axis=1).round(9) for x in (score, exact)]
    found = rank_correlation(*means)
    return np.nan if found is None else found


STATISTICS: dict[str, Statistic] = {"pooled": pooled, "within": within, "means": of_means}


def draws(clips: int, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Numbers of clips (1 + resamples, clips): all as they are, then drawn anew."""
    rng = np.random.default_rng(seed)
    return np.concatenate([np.arange(clips)[None], rng.integers(clips, size=(resamples, clips))])


def drawn(
    statistic: Statistic, scores: np.ndarray, exact: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """A statistic (len(chosen),) of the clips that were drawn, averaged over the runs of a score.

    scores: (runs, cases, clips). exact: (cases, clips). The same draws make differences paired.
    """
    if statistic is within:  # of each clip alone, so no draw changes it
        return mean_defined(np.concatenate([taus(run, exact)[chosen] for run in scores], 1), 1)
    return np.array([
        mean_defined(np.array([statistic(run[:, each], exact[:, each]) for run in scores]))
        for each in chosen
    ])  # fmt: skip


def summed_up(values: np.ndarray) -> Found:
    """The first one, and 95 % of the others."""
    if np.isnan(values[0]):
        return Found(None, None)
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Found(round(float(values[0]), 4), (round(float(low), 4), round(float(high), 4)))
