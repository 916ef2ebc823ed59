"""The cross-entropy method (Rubinstein 1999): sample, keep the elites, fit, sample again."""

import torch
from torch import Tensor

from egowm.planning.calls import takes_space
from egowm.planning.search import Budget, Cost, Plan, Search, check_counts
from egowm.planning.space import Space


@takes_space
def cem(
    cost: Cost,
    space: Space,
    *,
    samples: int,
    elites: int,
    iterations: int | Budget,
    momentum: float = 0.0,
    min_std: float = 0.0,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
) -> Plan:
    """Fit mean and standard deviation to the `elites` best of `samples`, `iterations` times.

    Args:
        cost, space, samples, generator, initial: As in `random_shooting`.
        iterations: Rounds, or a `Budget` of rounds, seconds or both.
        elites: Sequences of a round that the next one is fitted to.
        momentum: Share of the old mean and standard deviation that stays.
        min_std: The least standard deviation, where the space's was not less.

    >>> space = Space(torch.zeros(3, 1), std=0.5, high=1.0)
    >>> bowl = lambda actions: (actions - 0.5).square().sum((1, 2))  # least at 0.5
    >>> seeded = torch.Generator().manual_seed(0)
    >>> plan = cem(bowl, space, samples=64, elites=8, iterations=8, generator=seeded)
    >>> plan.evaluations, plan.cost < 0.001
    (512, True)
    """
    check_counts(samples, elites)
    check_momentum(momentum)
    if min_std < 0:
        raise ValueError(f"Expected a min_std of 0 or more, got {min_std}.")
    with Search(cost, space, iterations, generator, initial, keep=elites) as search:
        centre, spread = space.mean, space.std
        least = spread.clamp(max=min(min_std, float(spread.max())))
        for _ in search.rounds():
            drawn = search.around(centre, spread, search.noise(samples))
            best = search.best(drawn, search.evaluate(drawn), elites)
            centre = momentum * centre + (1 - momentum) * best.mean(0)
            fitted = momentum * spread + (1 - momentum) * best.std(0, correction=0)
            spread = torch.maximum(fitted, least)
    return search.plan


def check_momentum(momentum: float) -> None:
    """Refuse a momentum that is not a share below 1."""
    if not 0 <= momentum < 1:
        raise ValueError(f"Expected a momentum in [0, 1), got {momentum}.")
