"""Agents that plan in the rooms: with a world model, or with the simulator in its place."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from egowm.evaluation.navigation import MAX_FORWARD, Robot, Task, simulate
from egowm.planning.costs import Pixels
from egowm.planning.goal import By, goal_cost
from egowm.planning.mpc import MPC, Planner
from egowm.planning.search import Cost
from egowm.planning.space import Space
from egowm.sampling import Rollout, Sampling, takes_sampling
from egowm.worlds.motion import MAX_TURN

if TYPE_CHECKING:
    from egowm.world_model import WorldModel

HORIZON, EVERY, POOL = 8, 4, 4
LOW = torch.tensor([0.0, 0.0, -MAX_TURN], dtype=torch.float32)
HIGH = torch.tensor([MAX_FORWARD, 0.0, MAX_TURN], dtype=torch.float32)
MEAN, STD = torch.tensor([0.15, 0.0, 0.0]), torch.tensor([0.12, 0.0, 0.08])


class PlanningAgent:
    """Goes where the goal picture is, by a planner and a cost that is made anew for every look.

    cost_of: what is seen (history, 3, H, W) and the goal (3, H, W), in [0, 1], to the cost of what
    follows. horizon: actions planned; every: actions carried out before it plans again. history:
    frames that are remembered; before the first it stood still.
    """

    def __init__(
        self,
        planner: Planner,
        cost_of: Callable[[Tensor, Tensor], Cost],
        horizon: int = HORIZON,
        every: int = EVERY,
        seed: int = 0,
        history: int = 1,
    ) -> None:
        self.planner, self.cost_of, self.history = planner, cost_of, history
        self.horizon, self.every, self.seed = horizon, every, seed

    def begin(self, task: Task, goal: np.ndarray) -> None:
        wanted, self.seen = _frame(goal), torch.zeros(0)
        self.mpc: MPC[Tensor] = MPC(
            self.planner,
            lambda seen: self.cost_of(seen, wanted),
            Space(MEAN.expand(self.horizon, -1), STD, LOW, HIGH),
            every=self.every,
            generator=torch.Generator().manual_seed(self.seed * 100_003 + task.seed),
        )

    def act(self, frame: np.ndarray) -> np.ndarray:
        now = _frame(frame)[None]
        before = self.seen if len(self.seen) else now.expand(self.history, -1, -1, -1)
        self.seen = torch.cat([before[1:], now])
        action: np.ndarray = self.mpc.act(self.seen).numpy().astype(float)
        return action


@takes_sampling
def with_model(
    model: "WorldModel",
    planner: Planner,
    how: Sampling = Sampling(),
    *,
    by: By = "pixels",
    seed: int = 0,
    horizon: int = HORIZON,
    every: int = EVERY,
) -> PlanningAgent:
    """Imagines with a world model; by pixels, averaged over squares of 4, or by latents."""

    def cost_of(seen: Tensor, goal: Tensor) -> Cost:
        return goal_cost(
            model,
            seen[None],
            goal if by == "latents" else Pixels(goal.to(model.device), POOL),
            how,
            by=by,
            generator=torch.Generator().manual_seed(seed),
        )

    return PlanningAgent(planner, cost_of, horizon, every, seed, model.backbone.context)


class SimulatorAgent(PlanningAgent):
    """Plans with the simulator itself in place of a world model: the most that a planner and a cost
    by pixels can reach. It knows the room and where it stands."""

    def __init__(
        self, planner: Planner, horizon: int = HORIZON, every: int = EVERY, seed: int = 0
    ) -> None:
        super().__init__(planner, self._cost, horizon, every, seed)

    def begin(self, task: Task, goal: np.ndarray) -> None:
        super().begin(task, goal)
        self.robot = Robot(task, *goal.shape[:2])

    def act(self, frame: np.ndarray) -> np.ndarray:
        action = super().act(frame)
        self.robot.move(action)
        return action

    def _cost(self, seen: Tensor, goal: Tensor) -> Cost:
        start, term = self.robot.pose, Pixels(goal, POOL)

        def cost(actions: Tensor) -> Tensor:
            ends = [simulate(self.robot.room, start, row) for row in actions.numpy()]
            frames = torch.stack([_frame(self.robot.look(end)) for end in ends])[:, None]
            return term(Rollout(frames, frames, 0), actions)

        return cost


def _frame(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
