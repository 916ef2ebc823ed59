"""iCEM (Pinneri et al. 2020, arXiv 2008.06389): CEM that needs few samples.

Noise correlated in time, samples that become fewer, elites kept from round to round and from plan
to plan (`initial=shifted(plan.elites, steps)`), and the mean among the samples.
"""

import math

import torch
from torch import Tensor

from egowm.checks import check_between, check_shape, checked
from egowm.planning.calls import takes_space
from egowm.planning.cem import check_momentum
from egowm.planning.search import Budget, Cost, Plan, Search, check_counts
from egowm.planning.space import Space

MOST_BETA = 10.0  # either way; beyond it nothing is left but one frequency


@checked
def coloured(white: Tensor, beta: float) -> Tensor:
    """Normal noise (N, T, A) whose power falls with frequency as f^-beta; variance 1.

    white: standard normal (N, T, A). beta 0 is white, 1 pink, 2 red; after Timmer and Koenig
    (1995), A&A 300, 707. The mean of a sequence is drawn as the lowest frequency is.
    """
    check_shape("white", white, "N T A")
    check_between("beta", beta, -MOST_BETA, MOST_BETA)
    length = white.shape[1]
    number = torch.arange(length // 2 + 1, dtype=torch.float64, device=white.device)
    scale = number.clamp(min=1) ** (-beta / 2)
    weight = torch.full_like(scale, 2.0)  # each frequency has two terms, 0 and Nyquist one
    weight[0] = 1.0
    if length % 2 == 0:
        weight[-1] = 1.0
    scale = scale / ((weight * scale**2).sum() / length).sqrt()
    spectrum = torch.fft.rfft(white.double(), dim=1) * scale[:, None]
    return torch.fft.irfft(spectrum, n=length, dim=1).to(white)


@takes_space
def icem(
    cost: Cost,
    space: Space,
    *,
    samples: int,
    elites: int,
    iterations: int | Budget,
    beta: float = 2.0,
    decay: float = 1.25,
    kept: float = 0.3,
    momentum: float = 0.1,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
) -> Plan:
    """CEM with noise of colour `beta`; see `coloured`.

    Args:
        cost, space, samples, iterations, generator: As in `random_shooting`.
        elites: Sequences of a round that the next one is fitted to.
        beta: The noise's power falls with frequency as f^-beta.
        decay: Each round has so many times fewer samples than the one before, at least twice the
            elites (or `samples`, if that is less).
        kept: Share of the elites that go on to the next round, with the cost they had, so a cost
            must not change during a plan.
        momentum: Share of the old mean and standard deviation that stays.
        initial: The elites (M, T, A) of the plan before, shifted; a share `kept` of them is tried
            in the first round.

    >>> space = Space(torch.zeros(3, 1), std=0.5, high=1.0)
    >>> bowl = lambda actions: (actions - 0.5).square().sum((1, 2))  # least at 0.5
    >>> seeded = torch.Generator().manual_seed(0)
    >>> plan = icem(bowl, space, samples=64, elites=8, iterations=8, generator=seeded)
    >>> plan.evaluations, plan.cost < 0.01
    (265, True)
    """
    check_counts(samples, elites)
    check_momentum(momentum)
    if decay < 1 or not 0 <= kept <= 1:
        raise ValueError(f"Expected decay >= 1 and kept in [0, 1], got {decay} and {kept}.")
    with Search(cost, space, iterations, generator, initial, keep=elites) as search:
        centre, spread = space.mean, space.std
        old, old_costs = search.elites, search.costs  # none yet
        search.initial = search.initial[: _share(kept, len(search.initial))]
        for number in search.rounds():
            count = max(int(samples * decay**-number), min(2 * elites, samples))
            drawn = search.around(centre, spread, coloured(search.noise(count), beta))
            costs = search.evaluate(drawn).to(search.costs)
            pool, costs = torch.cat([drawn, old]), torch.cat([costs, old_costs])
            best = search.best(pool, costs, elites)
            share = _share(kept, len(best))
            old, old_costs = best[:share], costs.sort(stable=True).values[:share]
            centre = momentum * centre + (1 - momentum) * best.mean(0)
            spread = momentum * spread + (1 - momentum) * best.std(0, correction=0)
    return search.plan


def _share(kept: float, count: int) -> int:
    return math.ceil(kept * count)
