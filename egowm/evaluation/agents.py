"""Agents that plan in the rooms: with a world model, or with the simulator in its place."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from egowm.evaluation.navigation import MAX_FORWARD, Pose, Robot, Task, simulate
from egowm.pixels import to_uint8
from egowm.planning.costs import Latents, OnTheWay, Pixels, Term
from egowm.planning.goal import By, GoalCost, goal_cost, goal_latents
from egowm.planning.mpc import MPC, Planner
from egowm.planning.search import Cost, Plan
from egowm.planning.space import Space
from egowm.sampling import Rollout, Sampling, takes_sampling
from egowm.worlds.motion import MAX_TURN

if TYPE_CHECKING:
    from egowm.world_model import WorldModel

HORIZON, EVERY, POOL = 8, 4, 4
LOW = torch.tensor([0.0, 0.0, -MAX_TURN], dtype=torch.float32)
HIGH = torch.tensor([MAX_FORWARD, 0.0, MAX_TURN], dtype=torch.float32)
MEAN, STD = torch.tensor([0.15, 0.0, 0.0]), torch.tensor([0.12, 0.0, 0.08])


class Foreseen(NamedTuple):
    """A plan that was made on the way, and what it was imagined to lead to.

    begun: the number of the frame that was seen then. actions: (T, 3). frames: (T, H, W, 3) uint8.
    """

    begun: int
    actions: np.ndarray
    frames: np.ndarray


class PlanningAgent:
    """Goes where the goal picture is, by a planner and a cost that is made anew for every look.

    cost_of: what is seen (history, 3, H, W) and the goal (3, H, W), in [0, 1], to the cost of what
    follows. horizon: actions planned; every: actions carried out before it plans again. history:
    frames that are remembered; before the first it stood still. distances: of what is seen, the
    goal and actions (T, A), how far from the goal the robot is now and after each action (1+T,);
    where it is given, the robot plans again at the least of them, and stops where that is now.
    imagine: of what is seen and actions (T, A), the frames (T, 3, H, W) that follow; where it is
    given, `plans` keeps those of every plan.
    """

    def __init__(
        self,
        planner: Planner,
        cost_of: Callable[[Tensor, Tensor], Cost],
        horizon: int = HORIZON,
        every: int = EVERY,
        seed: int = 0,
        history: int = 1,
        distances: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
        imagine: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.planner, self.cost_of, self.history = planner, cost_of, history
        self.distances, self.imagine = distances, imagine
        self.horizon, self.every, self.seed = horizon, every, seed

    def begin(self, task: Task, goal: np.ndarray) -> None:
        wanted, self.seen, distances = _frame(goal), torch.zeros(0), self.distances
        self.acted, self.plans = 0, list[Foreseen]()

        def nearest(seen: Tensor, plan: Plan) -> int:
            assert distances is not None
            return min(self.every, int(distances(seen, wanted, plan.actions).argmin()))

        self.mpc: MPC[Tensor] = MPC(
            self.planner,
            lambda seen: self.cost_of(seen, wanted),
            Space(MEAN.expand(self.horizon, -1), STD, LOW, HIGH),
            every=self.every,
            generator=torch.Generator().manual_seed(self.seed * 100_003 + task.seed),
            until=None if distances is None else nearest,
        )

    def act(self, frame: np.ndarray) -> np.ndarray:
        now = _frame(frame)[None]
        before = self.seen if len(self.seen) else now.expand(self.history, -1, -1, -1)
        self.seen = torch.cat([before[1:], now])
        last = self.mpc.plan
        action: np.ndarray = self.mpc.act(self.seen).numpy().astype(float)
        if self.imagine is not None and self.mpc.plan is not None and self.mpc.plan is not last:
            actions = self.mpc.plan.actions
            if not self.mpc.due:  # arrived: it stays
                actions = torch.zeros_like(actions[:1])
            frames = to_uint8(self.imagine(self.seen, actions))
            self.plans.append(Foreseen(self.acted, actions.numpy(), frames))
        self.acted += 1
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
    stops: bool = False,
    watched: bool = False,
) -> PlanningAgent:
    """Imagines with a world model; by pixels, averaged over squares of 4, or by latents.

    stops: the robot may stop before a plan ends: every imagined frame is compared with the goal.
    watched: `plans` keeps what every plan was imagined to lead to.
    """

    def compared(goal: Tensor) -> Term:
        if by == "latents":
            return Latents(goal_latents(model, goal))
        return Pixels(goal.to(model.device), POOL)

    def cost_of(seen: Tensor, goal: Tensor) -> GoalCost:
        term = OnTheWay(compared(goal)) if stops else compared(goal)
        generator = torch.Generator().manual_seed(seed)
        return goal_cost(model, seen[None], term, how, generator=generator)

    def distances(seen: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        cost, last = cost_of(seen, goal), seen[-1:, None].to(model.device)
        latent = goal_latents(model, seen[-1])[None, None] if by == "latents" else last
        term = cost.term
        assert isinstance(term, OnTheWay)
        here = term.each(Rollout(last, latent, 0), actions[None])
        later = term.each(cost.imagine(actions[None]), actions[None])
        found = torch.full((1 + len(actions),), torch.inf)  # between latent frames nothing is known
        stride = model.backbone.codec.temporal_stride if by == "latents" else 1
        ends = [min(stride * (k + 1), len(actions)) for k in range(later.shape[1])]
        found[[0, *ends]] = torch.cat([here, later], 1)[0].cpu()
        return found

    def imagine(seen: Tensor, actions: Tensor) -> Tensor:
        noise = torch.Generator().manual_seed(seed)
        return model.rollout(seen[None], actions, how, generator=noise).frames[0].cpu()

    history = model.backbone.context
    own, shown = (distances if stops else None), (imagine if watched else None)
    return PlanningAgent(planner, cost_of, horizon, every, seed, history, own, shown)


class SimulatorAgent(PlanningAgent):
    """Plans with the simulator itself in place of a world model: the most that a planner and a cost
    by pixels can reach. It knows the room and where it stands."""

    def __init__(
        self,
        planner: Planner,
        horizon: int = HORIZON,
        every: int = EVERY,
        seed: int = 0,
        stops: bool = False,
        watched: bool = False,
    ) -> None:
        own, shown = (self._distances if stops else None), (self._imagine if watched else None)
        super().__init__(planner, self._cost, horizon, every, seed, distances=own, imagine=shown)

    def begin(self, task: Task, goal: np.ndarray) -> None:
        super().begin(task, goal)
        self.robot = Robot(task, *goal.shape[:2])

    def act(self, frame: np.ndarray) -> np.ndarray:
        action = super().act(frame)
        self.robot.move(action)
        return action

    def _cost(self, seen: Tensor, goal: Tensor) -> Cost:
        last = Pixels(goal, POOL)
        term: Term = last if self.distances is None else OnTheWay(last)

        def cost(actions: Tensor) -> Tensor:
            frames = torch.stack([self._future(row) for row in actions])
            return term(Rollout(frames, frames, 0), actions)

        return cost

    def _future(self, actions: Tensor) -> Tensor:
        """Frames (T, 3, H, W) that actions (T, A) lead to; where it cannot stop, the last alone."""
        poses = self._poses(actions)
        wanted = poses if self.distances is not None else poses[-1:]
        return torch.stack([_frame(self.robot.look(pose)) for pose in wanted])

    def _imagine(self, seen: Tensor, actions: Tensor) -> Tensor:
        return torch.stack([_frame(self.robot.look(pose)) for pose in self._poses(actions)])

    def _poses(self, actions: Tensor) -> list[Pose]:
        poses, pose = [], self.robot.pose
        for action in actions.numpy():
            pose = simulate(self.robot.room, pose, [action])
            poses.append(pose)
        return poses

    def _distances(self, seen: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        frames = torch.cat([seen[-1:], self._future(actions)])[None]
        return OnTheWay(Pixels(goal, POOL)).each(Rollout(frames, frames, 0), actions[None])[0]


def _frame(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
