"""Every planner with settings under which it finds the bottom of a bowl."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from egowm.planning import Space, cem, gradient, icem, mppi, random_shooting

TARGET = torch.tensor([[0.3, -0.2], [0.1, 0.4], [-0.5, 0.2]])
MEAN = torch.zeros(3, 2)
SPACE = Space(MEAN, 0.5)
PLANNERS: dict[str, Callable] = {
    "random_shooting": partial(random_shooting, samples=500, iterations=4),
    "cem": partial(cem, samples=100, elites=10, iterations=20),
    "icem": partial(icem, samples=100, elites=10, iterations=20, beta=1.0),
    "mppi": partial(mppi, samples=200, iterations=25),
    "gradient": partial(gradient, samples=3, iterations=100),
}


def bowl(actions: Tensor) -> Tensor:
    """Squared distance to TARGET, (N, 3, 2) -> (N,)."""
    return (actions - TARGET).square().sum((1, 2))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=sorted(PLANNERS))
def planner(request) -> Callable:
    return PLANNERS[request.param]
