"""How well scores rank models as robots do: Kendall's tau-b, intervals over rooms and clips."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.measure import Record

RESAMPLES = 2000
LOWER_IS_BETTER = ("latents", "following", "loss")


class Ranked(NamedTuple):
    """Models with their scores and arrivals.

    Args:
        names: of the models.
        scores: by name, (models, clips); NaN where a clip has none. Higher is better in all.
        arrived: (models, rooms), 1 where the robot arrived.
        metres: (models, rooms), how far off it ended.
    """

    names: tuple[str, ...]
    scores: dict[str, np.ndarray]
    arrived: np.ndarray
    metres: np.ndarray

    def only(self, chosen: Sequence[bool]) -> "Ranked":
        """Some of the models."""
        which = np.array(chosen)
        names = tuple(name for name, kept in zip(self.names, chosen, strict=True) if kept)
        scores = {name: values[which] for name, values in self.scores.items()}
        return Ranked(names, scores, self.arrived[which], self.metres[which])


def ranked(scored: Sequence[Record], arrivals: Sequence[Sequence[Record]]) -> Ranked:
    """From the records of each model: its scores, and its arrivals block by block."""
    found = {}
    for name in scored[0]["scores"] if scored else ():
        values = np.array([record["scores"][name] for record in scored], float)
        found[name] = -values if name in LOWER_IS_BETTER else values
    arrived = [[x for block in blocks for x in block["arrived"]] for blocks in arrivals]
    metres = [[x for block in blocks for x in block["metres"]] for blocks in arrivals]
    names = tuple(record["name"] for record in scored)
    return Ranked(names, found, np.array(arrived, float), np.array(metres, float))


def tau_b(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of rankings (..., models), 0 where all are tied (Kendall 1945).

    >>> float(tau_b(np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3])).round(3))
    0.667
    """
    first, second = np.triu_indices(a.shape[-1], 1)
    rises = [np.sign(x[..., second] - x[..., first]) for x in (a, b)]
    pairs = np.sqrt(np.prod([np.abs(rise).sum(-1) for rise in rises], axis=0))
    agreed = (rises[0] * rises[1]).sum(-1)
    return np.divide(agreed, pairs, out=np.zeros_like(pairs), where=pairs > 0)


def agreement(
    models: Ranked, target: Callable[[Ranked], np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Each score's tau with a target, (1 + RESAMPLES,): as measured, then with rooms and clips
    drawn anew; the draws are the same for all scores, so that their differences are paired.

    target: (models, rooms), higher is better.
    """
    rng, goals = np.random.default_rng(seed), target(models)
    clips = next(iter(models.scores.values())).shape[1]
    of_rooms, of_clips = (_weights(rng, count) for count in (goals.shape[1], clips))
    aims = of_rooms @ goals.T
    found = {}
    for name, values in models.scores.items():
        known = ~np.isnan(values)
        weight = of_clips @ known.T
        means = np.divide(of_clips @ np.nan_to_num(values).T, weight, where=weight > 0,
                          out=np.full(weight.shape, -np.inf))  # fmt: skip
        found[name] = tau_b(means.round(9), aims.round(9))
    return found


def _weights(rng: np.random.Generator, count: int) -> np.ndarray:
    """(1 + RESAMPLES, count): all alike, then how often each was drawn."""
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    return np.concatenate([np.full((1, count), 1 / count), drawn])


def with_interval(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The first one, and 95% of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return float(values[0]), (float(low), float(high))
