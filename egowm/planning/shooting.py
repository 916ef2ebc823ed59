"""Random shooting: the best of many sequences drawn from one distribution."""

import torch
from torch import Tensor

from egowm.planning.search import Cost, Plan, Search, check_counts


def random_shooting(
    cost: Cost,
    mean: Tensor,
    std: Tensor | float,
    *,
    samples: int,
    iterations: int | None = 1,
    low: Tensor | float | None = None,
    high: Tensor | float | None = None,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
    seconds: float | None = None,
    progress: bool = False,
) -> Plan:
    """The best of `iterations` times `samples` normal sequences around `mean`.

    cost: (N, T, A) -> (N,). mean: (T, A), itself among the samples; std, low, high: broadcast to
    it. initial: (M, T, A) sequences tried first. seconds: a time budget; iterations may then be
    None. progress: show a bar. Raises ValueError for NaN costs and inputs that make no search.
    """
    check_counts(samples)
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
        keep=max(1, samples // 10),
    ) as search:
        for number in search.rounds():
            drawn = search.around(search.mean, search.std, search.noise(samples))
            if number == 0:
                drawn = torch.cat([drawn, search.warm(initial)])
            search.evaluate(drawn)
    return search.plan
