"""The cross-entropy method (Rubinstein 1999): sample, keep the elites, fit, sample again."""

import torch
from torch import Tensor

from egowm.planning.search import Cost, Plan, Search, check_counts


def cem(
    cost: Cost,
    mean: Tensor,
    std: Tensor | float,
    *,
    samples: int,
    elites: int,
    iterations: int | None,
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
    momentum: float = 0.0,
    min_std: float = 0.0,
    seconds: float | None = None,
    progress: bool = False,
) -> Plan:
    """Fit mean and standard deviation to the `elites` best of `samples`, `iterations` times.

    momentum: share of the old mean and standard deviation that stays. min_std: the least standard
    deviation, where `std` was not less. The other arguments: see `random_shooting`.
    """
    check_counts(samples, elites)
    check_momentum(momentum)
    with Search(
        cost,
        mean,
        std,
        low,
        high,
        iterations=iterations,
        seconds=seconds,
        progress=progress,
        generator=generator,
        keep=elites,
    ) as search:
        centre, spread = search.mean, search.std
        least = spread.clamp(max=min_std)
        for number in search.rounds():
            drawn = search.around(centre, spread, search.noise(samples))
            if number == 0:
                drawn = torch.cat([drawn, search.warm(initial)])
            best = search.best(drawn, search.evaluate(drawn), elites)
            centre = momentum * centre + (1 - momentum) * best.mean(0)
            fitted = momentum * spread + (1 - momentum) * best.std(0, correction=0)
            spread = torch.maximum(fitted, least)
    return search.plan


def check_momentum(momentum: float) -> None:
    """Refuse a share that is none."""
    if not 0 <= momentum < 1:
        raise ValueError(f"Expected a momentum in [0, 1), got {momentum}.")
