"""A plan from one picture to another, imagined by a world model: no simulator, no robot."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from egowm.checks import checked
from egowm.evaluation.agents import POOL, Compared
from egowm.pixels import psnr, to_uint8
from egowm.planning.costs import Latents, Pixels, Term
from egowm.planning.goal import goal_cost, goal_latents
from egowm.planning.mpc import Planner
from egowm.planning.search import Plan
from egowm.planning.space import Space
from egowm.sampling import Sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics


class PicturePlan(NamedTuple):
    """What came of it.

    plan: its actions (T, A). imagined: (T+1, H, W, 3) uint8, the start first. before, after: dB
    between the goal and the start, and between the goal and the last imagined frame; a model
    without frames leaves imagined black and after None.
    """

    plan: Plan
    imagined: np.ndarray
    before: float
    after: float | None


@checked
def plan_between(
    model: "Dynamics",
    start: np.ndarray,
    goal: np.ndarray,
    planner: Planner,
    how: Sampling = Sampling(),
    *,
    horizon: int = 8,
    by: Compared = "pixels",
    state: torch.Tensor | None = None,
    text: str = "",
    source: str | None = None,
    seed: int = 0,
) -> PicturePlan:
    """The actions after which the model imagines what looks most like the goal.

    Args:
        model: What imagines.
        start: What is seen now, (H, W, 3) uint8; before it the robot stood still.
        goal: What is to be seen at the end, (H, W, 3) uint8.
        planner: With its own settings filled in, `partial(icem, samples=.., elites=..)`.
        how: The settings of `WorldModel.rollout`.
        horizon: Actions, T. Searched within the range that they had in training.
        by: Whether the ends are compared by pixels, averaged over squares of 4, or by latents; or
            a term of one frame that is made of the goal (3, H, W), as by `features.encoder`.
        state: See `WorldModel.rollout`.
        text: See `WorldModel.rollout`.
        source: See `WorldModel.rollout`.
        seed: Of the planner and of the noise, which is the same for all candidates.

    Raises ValueError for pictures of two sizes, and where the model or the planner does.

    >>> from functools import partial
    >>> from egowm import WorldModel
    >>> from egowm.planning import random_shooting
    >>> grey = np.full((64, 64, 3), 128, np.uint8)
    >>> planner = partial(random_shooting, samples=2, iterations=1)
    >>> found = plan_between(WorldModel.from_pretrained("rooms"), grey, grey, planner, horizon=1)
    >>> found.plan.actions.shape, found.imagined.shape
    (torch.Size([1, 3]), (2, 64, 64, 3))
    """
    if start.shape != goal.shape:
        raise ValueError(f"Expected pictures of one size, got {start.shape} and {goal.shape}.")
    seen = torch.from_numpy(start.transpose(2, 0, 1).copy())
    wanted = torch.from_numpy(goal.transpose(2, 0, 1) / 255).float().to(model.device)
    context = seen.expand(1, model.num_context, -1, -1, -1)
    term = _term(model, wanted, by)
    given = {"state": state, "text": text, "source": source}
    noise = torch.Generator().manual_seed(seed)
    cost = goal_cost(model, context, term, how, generator=noise, **given)  # type: ignore[arg-type]
    spec = model.spec_of(source)
    drawn = torch.Generator().manual_seed(seed)
    plan = planner(cost, Space.of(spec, horizon), generator=drawn, initial=None)
    made = model.rollout(context, plan.actions, how, generator=noise.clone_state(), **given)  # type: ignore[arg-type]
    before = psnr(start[None], goal[None])
    if not model.makes_frames:
        unseen = np.zeros((horizon, *start.shape), np.uint8)
        return PicturePlan(plan, np.concatenate([start[None], unseen]), before, None)
    imagined = np.concatenate([start[None], to_uint8(made.frames[0])])
    return PicturePlan(plan, imagined, before, psnr(imagined[-1:], goal[None]))


def _term(model: "Dynamics", goal: torch.Tensor, by: Compared) -> Term:
    if callable(by):
        return by(goal)
    return Pixels(goal, POOL) if by == "pixels" else Latents(goal_latents(model, goal))
