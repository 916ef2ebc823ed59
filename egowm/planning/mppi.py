"""Model predictive path integral control (Williams et al. 2017, arXiv 1707.02342)."""

import torch
from torch import Tensor

from egowm.planning.calls import takes_space
from egowm.planning.search import Budget, Cost, Plan, Search, check_counts
from egowm.planning.space import Space


@takes_space
def mppi(
    cost: Cost,
    space: Space,
    *,
    samples: int,
    iterations: int | Budget,
    temperature: float = 0.1,
    decay: float = 0.8,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
) -> Plan:
    """Move the mean to the average of all samples, weighted by exp(-cost / temperature).

    Args:
        cost, space, samples, iterations, generator, initial: As in `random_shooting`.
        temperature: In standard deviations of a round's costs, so that it does not depend on the
            cost's unit.
        decay: Of the noise from round to round, as in DIAL-MPC (Xue et al. 2024, arXiv 2409.15610);
            1 keeps it as it is.

    >>> space = Space(torch.zeros(3, 1), std=0.5, high=1.0)
    >>> bowl = lambda actions: (actions - 0.5).square().sum((1, 2))  # least at 0.5
    >>> seeded = torch.Generator().manual_seed(0)
    >>> plan = mppi(bowl, space, samples=64, iterations=8, generator=seeded)
    >>> plan.evaluations, plan.cost < 0.01
    (512, True)
    """
    check_counts(samples)
    if not temperature > 0 or not 0 < decay <= 1:
        raise ValueError(
            f"Expected temperature above 0 and decay in (0, 1], got {temperature} and {decay}."
        )
    with Search(cost, space, iterations, generator, initial, keep=samples // 10) as search:
        centre, spread = space.mean, space.std
        for _ in search.rounds():
            drawn = search.around(centre, spread, search.noise(samples))
            costs = search.evaluate(drawn).to(centre)
            search.best(drawn, costs, 1)  # refuses a round in which everything is forbidden
            weights = _weights(costs, temperature)
            centre = (weights[:, None, None] * drawn).sum(0)
            spread = decay * spread
    return search.plan


def _weights(costs: Tensor, temperature: float) -> Tensor:
    """Softmax (N,) of the standardised costs; 0 where they are inf."""
    finite = costs[costs.isfinite()]
    scale = finite.std(correction=0).clamp(min=torch.finfo(costs.dtype).tiny)
    return torch.softmax((finite.min() - costs) / (scale * temperature), 0)
