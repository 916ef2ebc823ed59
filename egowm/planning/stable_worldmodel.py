"""egowm's planners and models inside stable-worldmodel: its solver's and its model's interface.

A solver has `configure`, then `solve(info_dict, init_action) -> {"actions": (n_envs, T, dim)}`,
and calls a model's `get_cost(info_dict, candidates (B, N, T, dim)) -> (B, N)`. `PlannerSolver` is
such a solver for any such model, `GoalModel` such a model for any such solver. stable-worldmodel
itself is not imported.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from egowm.checks import MOST_SEED, check_between, check_shape, check_whole, checked, counted, shown
from egowm.planning.goal import By, goal_cost
from egowm.planning.mpc import Planner
from egowm.planning.search import check_plan
from egowm.planning.space import MOST_ACTIONS, Space
from egowm.sampling import Sampling, takes_sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics


class Costable(Protocol):
    """A model of stable-worldmodel, or anything with its `get_cost`."""

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor: ...


@checked
class PlannerSolver:
    """Plans for each environment in turn.

    Args:
        model: Computes the costs.
        planner: With its settings filled in, `partial(cem, samples=300, elites=30, iterations=10)`.
        std: Of the search's `Space`, in the units of the framework's actions.
        low: The least value of the space.
        high: The largest one.
        seed: Of the samples.
    """

    def __init__(
        self,
        model: Costable,
        planner: Planner,
        std: Tensor | float = 1.0,
        low: Tensor | float = -torch.inf,
        high: Tensor | float = torch.inf,
        seed: int = 0,
    ) -> None:
        self.model, self.planner = model, planner
        self.std, self.low, self.high = std, low, high
        check_between("seed", seed, 0, MOST_SEED)
        self.generator = torch.Generator().manual_seed(seed)

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        """action_space: of all environments, (n_envs, ...); config: with horizon, action_block."""
        self._dim = int(np.prod(action_space.shape[1:])) * config.action_block
        check_whole("config.horizon", config.horizon, 1, MOST_ACTIONS)
        self._n_envs, self._horizon = n_envs, int(config.horizon)

    @property
    def action_dim(self) -> int:
        """Numbers in one step: those of an action, times the actions in a block."""
        return self._dim

    @property
    def n_envs(self) -> int:
        return self._n_envs

    @property
    def horizon(self) -> int:
        return self._horizon

    def __call__(self, info_dict: dict[str, Any], init_action: Tensor | None = None) -> Any:
        return self.solve(info_dict, init_action)

    def solve(self, info_dict: dict[str, Any], init_action: Tensor | None = None) -> dict[str, Any]:
        """Actions (B, T, dim) and their costs, for the B environments of `info_dict`.

        init_action: (B, T' <= T, dim), where to begin; zeros follow.
        """
        if not info_dict or not all(hasattr(value, "__len__") for value in info_dict.values()):
            raise ValueError(
                f"Expected an info_dict of something for each environment, got {shown(info_dict)}."
            )
        count = len(next(iter(info_dict.values())))
        if init_action is not None:
            check_shape("init_action", init_action, f"{count} T {self.action_dim}")
        plans = []
        for number in range(count):
            mean = torch.zeros(self.horizon, self.action_dim)
            if init_action is not None and init_action.shape[1]:
                given = init_action[number].detach().cpu().float()
                mean[: len(given)] = given

            def cost(actions: Tensor, number: int = number) -> Tensor:
                infos = _repeated(info_dict, number, len(actions))
                return self.model.get_cost(infos, actions[None])[0].to(actions)

            space = Space(mean, self.std, self.low, self.high)
            plans.append(self.planner(cost, space, generator=self.generator, initial=None))
            check_plan(plans[-1], space)
        actions = torch.stack([plan.actions for plan in plans])
        return {"actions": actions, "costs": [plan.cost for plan in plans]}


@checked
class GoalModel:
    """A world model for stable-worldmodel's solvers: how far the imagined end is from the goal.

    The candidates are in physical units, as the environment's actions; scale them in the solver.

    Args:
        model: What imagines.
        how: The settings, as in `goal_cost`.
        by: What is compared, as in `goal_cost`.
        seed: Of the noise, the same for all candidates.
    """

    @takes_sampling
    def __init__(
        self,
        model: "Dynamics",
        how: Sampling = Sampling(),
        *,
        by: By = "latents",
        seed: int = 0,
    ) -> None:
        check_between("seed", seed, 0, MOST_SEED)
        self.model, self.how, self.by, self.seed = model, how, by, seed

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs (B, N) of candidates (B, N, T, block * A).

        info_dict: "pixels" (B, N, K, ...), what was seen, and "goal" (B, N, 1, ...), equal for the
        candidates of an environment; frames are (3, H, W) or (H, W, 3), uint8 or float in [0, 1].
        Raises ValueError where one is missing or the candidates are not whole actions.
        """
        missing = [name for name in ("pixels", "goal") if name not in info_dict]
        if missing:
            raise ValueError(f"Expected pixels and goal in info_dict, {missing[0]} is missing.")
        check_shape("action_candidates", action_candidates, "B N T A")
        width = self.model.spec_of(None).width
        if action_candidates.shape[-1] % width:
            raise ValueError(
                f"Expected candidates of whole actions of {counted(width, 'number')}, got "
                f"{action_candidates.shape[-1]} in a step."
            )
        for name in ("pixels", "goal"):
            count = len(action_candidates)
            check_shape(name, info_dict[name], f"{count} N K H W C")
        costs = []
        for number, candidates in enumerate(action_candidates):
            seen, goal = (_frames(info_dict[k][number][0]) for k in ("pixels", "goal"))
            cost = goal_cost(
                self.model,
                seen[None, -self.model.num_context :],
                goal[-1],
                self.how,
                by=self.by,
                generator=torch.Generator().manual_seed(self.seed),
            )
            costs.append(cost(candidates.reshape(len(candidates), -1, width)))
        return torch.stack(costs)


def _frames(pixels: Tensor | np.ndarray) -> Tensor:
    """(K, 3, H, W) from that or (K, H, W, 3)."""
    frames = torch.as_tensor(pixels)
    return frames.permute(0, 3, 1, 2) if frames.shape[-1] == 3 else frames


def _repeated(infos: Mapping[str, Any], number: int, times: int) -> dict[str, Any]:
    """What is known of one environment, (1, N, ...), once for each candidate."""
    found: dict[str, Any] = {}
    for name, value in infos.items():
        one = value[number : number + 1]
        if isinstance(one, Tensor):
            one = one[:, None].expand(1, times, *one.shape[1:])
        elif isinstance(one, np.ndarray):
            one = np.repeat(one[:, None], times, axis=1)
        found[name] = one
    return found
