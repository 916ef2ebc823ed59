"""Straight lines: a whole sequence of poses from its end, as NWM plans.

"Navigation World Models" (Bar et al. 2024, arXiv 2412.03572) search over one translation and one
turn, split into equal steps, with the turn at the last of them.
"""

from typing import Literal

import torch
from torch import Tensor

from egowm.checks import check_between, checked
from egowm.planning.calls import takes_space
from egowm.planning.cem import cem
from egowm.planning.search import Budget, Cost, Plan
from egowm.planning.space import MOST_ACTIONS, Space

Turn = Literal["last", "even"]


@checked
def line_actions(ends: Tensor, horizon: int, turn: Turn = "last") -> Tensor:
    """Ends (N, 1, 3) of metres and radians (dx, dy, dyaw) to actions (N, horizon, 3).

    turn: "last" turns at the last step, so that the path is straight; "even" turns a little at
    every step, for a robot that cannot turn far in one: the path is then an arc.
    """
    if ends.ndim != 3 or ends.shape[1:] != (1, 3):
        raise ValueError(f"Expected ends (N, 1, 3) of dx, dy, dyaw, got {tuple(ends.shape)}.")
    check_between("horizon", horizon, 1, MOST_ACTIONS)
    share = torch.full((horizon, 3), 1 / horizon, dtype=ends.dtype, device=ends.device)
    if turn == "last":
        share[:, 2] = 0.0
        share[-1, 2] = 1.0
    return ends * share


@takes_space
def straight_line(
    cost: Cost,
    space: Space,
    *,
    horizon: int,
    samples: int = 120,
    elites: int = 5,
    iterations: int | Budget = 1,
    turn: Turn = "last",
    generator: torch.Generator | None = None,
) -> Plan:
    """CEM over the end (1, 3) of a line of `horizon` steps; the plan has actions (horizon, 3).

    Args:
        cost: Of the lines' actions, (N, horizon, 3) to (N,).
        space: Of the end (1, 3): dx, dy, dyaw from the start, metres and radians.
        horizon: Equal steps that the line is split into.
        samples, elites, iterations, generator: As in `cem`; the defaults are NWM's.
        turn: Where the robot turns: "last" at the last step, so that the path is straight; "even" a
            little at every step, which makes an arc.

    >>> end = Space(torch.tensor([[0.8, 0.0, 0.0]]), std=torch.tensor([0.2, 0.0, 0.1]))
    >>> forward = lambda actions: (actions.sum(1)[:, 0] - 1.0).abs()  # metres short of 1
    >>> seeded = torch.Generator().manual_seed(0)
    >>> plan = straight_line(forward, end, horizon=4, generator=seeded)
    >>> plan.actions.shape, round(float(plan.actions[0, 0]), 2)
    (torch.Size([4, 3]), 0.25)
    """
    found = cem(
        lambda ends: cost(line_actions(ends, horizon, turn)),
        space,
        samples=samples,
        elites=elites,
        iterations=iterations,
        generator=generator,
    )
    elites_of_line = line_actions(found.elites, horizon, turn)
    return found._replace(actions=elites_of_line[0], elites=elites_of_line)
