"""Descent along the cost's own gradient, from several starts at once."""

import torch
from torch import Tensor

from egowm.planning.calls import takes_space
from egowm.planning.search import Budget, Cost, Plan, Search, check_counts
from egowm.planning.space import Space

_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam (Kingma and Ba 2015, arXiv 1412.6980)


@takes_space
def gradient(
    cost: Cost,
    space: Space,
    *,
    iterations: int | Budget,
    samples: int = 1,
    rate: float = 0.1,
    generator: torch.Generator | None = None,
    initial: Tensor | None = None,
) -> Plan:
    """Adam on `samples` sequences, each on its own, projected onto the bounds after every step.

    Args:
        cost: Differentiable, of sequences (N, T, A) to (N,); lower is better.
        space, generator, initial: As in `random_shooting`.
        iterations: Steps of Adam, or a `Budget` with a number of them.
        samples: Sequences; the first starts at the space's mean, the others around it.
        rate: Step size in units of the space's std, falling linearly to 0 over the iterations; a
            dimension with std 0 stays.

    Raises:
        ValueError: The cost has no gradient.

    >>> space = Space(torch.zeros(3, 1), std=0.5, high=1.0)
    >>> bowl = lambda actions: (actions - 0.5).square().sum((1, 2))  # least at 0.5
    >>> plan = gradient(bowl, space, iterations=40)
    >>> plan.evaluations, [round(float(action), 1) for action in plan.actions]
    (40, [0.5, 0.5, 0.5])
    """
    check_counts(samples)
    if not rate > 0:
        raise ValueError(f"Expected a rate above 0, got {rate}.")
    with Search(cost, space, iterations, generator, initial, keep=samples // 10) as search:
        actions = search.around(space.mean, space.std, search.noise(samples))
        steps = search.budget.iterations
        if steps is None:
            raise ValueError(
                "Expected a number of iterations, over which the rate falls, got None."
            )
        first, second = torch.zeros_like(actions), torch.zeros_like(actions)
        for number in search.rounds():
            slope = _slope(search, actions) * space.std  # of the cost in units of std
            first = _BETAS[0] * first + (1 - _BETAS[0]) * slope
            second = _BETAS[1] * second + (1 - _BETAS[1]) * slope.square()
            mean_slope = first / (1 - _BETAS[0] ** (number + 1))
            size = (second / (1 - _BETAS[1] ** (number + 1))).sqrt() + _EPSILON
            step = rate * (1 - number / steps) * mean_slope / size
            actions = space.bounded(actions - step * space.std)
    return search.plan


def _slope(search: Search, actions: Tensor) -> Tensor:
    """The gradient (N, T, A) of each sequence's own cost."""
    leaf = actions.detach().requires_grad_()
    with torch.enable_grad():
        costs = search.cost(leaf)
        if not isinstance(costs, Tensor) or not costs.requires_grad:
            raise ValueError(
                "Expected a differentiable cost, got one without a gradient: use torch functions "
                "of the actions without no_grad, or a planner that only samples."
            )
        search.remember(leaf, costs)
        allowed = torch.where(costs.isfinite(), costs, torch.zeros_like(costs))
        (slope,) = torch.autograd.grad(allowed.sum(), leaf)
    if not slope.isfinite().all():
        raise ValueError("The cost's gradient is not finite: expected finite numbers everywhere.")
    return slope
