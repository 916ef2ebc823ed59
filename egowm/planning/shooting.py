"""Random shooting: the best of many sequences drawn from one distribution."""

import torch
from torch import Tensor

from egowm.planning.calls import takes_space
from egowm.planning.search import Budget, Cost, Plan, Search, check_counts
from egowm.planning.space import Space


@takes_space
def random_shooting(
    cost: Cost,
    space: Space,
    *,
    samples: int,
    iterations: int | Budget = 1,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
) -> Plan:
    """The best of `iterations` times `samples` normal sequences around the space's mean.

    Args:
        cost: Of sequences, (N, T, A) to (N,); lower is better, inf forbids a sequence.
        space: Where to look; its mean is itself among the samples.
        samples: Sequences drawn in a round.
        iterations: Rounds, or a `Budget` of rounds, seconds or both.
        generator: Of the samples.
        initial: Sequences (M, T, A) that are tried first.

    Raises ValueError for NaN costs and numbers that make no search.

    >>> space = Space(torch.zeros(3, 1), std=0.5, high=1.0)
    >>> bowl = lambda actions: (actions - 0.5).square().sum((1, 2))  # least at 0.5
    >>> seeded = torch.Generator().manual_seed(0)
    >>> plan = random_shooting(bowl, space, samples=64, generator=seeded)
    >>> plan.evaluations, plan.cost < 0.1
    (64, True)
    """
    check_counts(samples)
    with Search(cost, space, iterations, generator, initial, keep=samples // 10) as search:
        for _ in search.rounds():
            drawn = search.around(space.mean, space.std, search.noise(samples))
            search.evaluate(drawn)
    return search.plan
