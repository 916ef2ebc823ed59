"""Agents that plan in the rooms: with a world model, or with the simulator in its place."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from egowm.evaluation.navigation import MAX_FORWARD, Task
from egowm.evaluation.simulator import Simulator
from egowm.pixels import picture, to_uint8
from egowm.planning.costs import Latents, OnTheWay, Pixels, Term
from egowm.planning.goal import By, GoalCost, goal_cost, goal_latents
from egowm.planning.mpc import MPC, Planner
from egowm.planning.search import Cost, Plan
from egowm.planning.space import Space
from egowm.sampling import Rollout, Sampling, takes_sampling
from egowm.worlds.motion import MAX_TURN
from egowm.worlds.rooms import Room

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics

HORIZON, EVERY, POOL = 8, 4, 4
Compared = By | Callable[[Tensor], Term]
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
    given, `plans` keeps those of every plan. propose: of what is seen and the goal,
    sequences (N, T, A) around which it searches (`MPC`).
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
        propose: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.propose = propose
        self.planner, self.cost_of, self.history = planner, cost_of, history
        self.distances, self.imagine = distances, imagine
        self.horizon, self.every, self.seed = horizon, every, seed

    def begin(self, task: Task, goal: np.ndarray) -> None:
        wanted, self.seen, distances = picture(goal), torch.zeros(0), self.distances
        self.acted, self.plans, propose = 0, list[Foreseen](), self.propose

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
            propose=None if propose is None else (lambda seen: propose(seen, wanted)),
        )

    def act(self, frame: np.ndarray) -> np.ndarray:
        now = picture(frame)[None]
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


class Ahead:
    """What a model imagines for a `PlanningAgent`: costs, distances, frames.

    by: what is compared with the goal: pixels averaged over squares of 4, latents, or a term of one
    frame that is made of the goal (3, H, W). seed: of the noise. stops: the cost is the least on
    the way, not that of the end.
    """

    def __init__(
        self,
        model: "Dynamics",
        how: Sampling,
        by: Compared = "pixels",
        seed: int = 0,
        stops: bool = False,
    ) -> None:
        self.model, self.how, self.by, self.seed, self.stops = model, how, by, seed, stops

    def compared(self, goal: Tensor) -> Term:
        if callable(self.by):
            return self.by(goal.to(self.model.device))
        if self.by == "latents":
            return Latents(goal_latents(self.model, goal))
        return Pixels(goal.to(self.model.device), POOL)

    def cost_of(self, seen: Tensor, goal: Tensor) -> GoalCost:
        term = OnTheWay(self.compared(goal)) if self.stops else self.compared(goal)
        generator = torch.Generator().manual_seed(self.seed)
        return goal_cost(self.model, seen[None], term, self.how, generator=generator)

    def distances(self, seen: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        cost, last = self.cost_of(seen, goal), seen[-1:, None].to(self.model.device)
        by_latents = self.by == "latents"
        latent = goal_latents(self.model, seen[-1])[None, None] if by_latents else last
        term = cost.term
        assert isinstance(term, OnTheWay)
        here = term.each(Rollout(last, latent, 0), actions[None])
        later = term.each(cost.imagine(actions[None]), actions[None])
        found = torch.full((1 + len(actions),), torch.inf)  # between latent frames nothing is known
        block = self.model.frames_at_once
        stride = math.ceil(len(actions) / block) * block // later.shape[1] if by_latents else 1
        ends = [min(stride * (k + 1), len(actions)) for k in range(later.shape[1])]
        found[[0, *ends]] = torch.cat([here, later], 1)[0].cpu()
        return found

    def imagine(self, seen: Tensor, actions: Tensor) -> Tensor:
        if not self.model.makes_frames:  # films are black there
            return torch.zeros(len(actions), *seen.shape[1:])
        noise = torch.Generator().manual_seed(self.seed)
        return self.model.rollout(seen[None], actions, self.how, generator=noise).frames[0].cpu()


@takes_sampling
def with_model(
    model: "Dynamics",
    planner: Planner,
    how: Sampling = Sampling(),
    *,
    by: Compared = "pixels",
    seed: int = 0,
    horizon: int = HORIZON,
    every: int = EVERY,
    stops: bool = False,
    watched: bool = False,
    propose: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> PlanningAgent:
    """Imagines with a world model.

    by: pixels, averaged over squares of 4, latents, or a term of one frame made of the goal.
    stops: the robot may stop before a plan ends: every imagined frame is compared with the goal.
    propose: See `PlanningAgent`.
    watched: `plans` keeps what every plan was imagined to lead to, black of a model without frames.
    """
    ahead, history = Ahead(model, how, by, seed, stops), model.num_context
    own = ahead.distances if stops else None
    shown = ahead.imagine if watched else None
    return PlanningAgent(planner, ahead.cost_of, horizon, every, seed, history, own, shown, propose)


class SimulatorAgent(PlanningAgent):
    """Plans with the simulator itself in place of a world model: the most that a planner and a cost
    can reach. It knows the room and where it stands. by: pixels, or a term made of the goal."""

    def __init__(
        self,
        planner: Planner,
        horizon: int = HORIZON,
        every: int = EVERY,
        seed: int = 0,
        stops: bool = False,
        watched: bool = False,
        by: Compared = "pixels",
    ) -> None:
        self.simulator = Simulator()
        ahead = Ahead(self.simulator, Sampling(), by, stops=stops)
        own, shown = (ahead.distances if stops else None), (ahead.imagine if watched else None)
        super().__init__(planner, ahead.cost_of, horizon, every, seed, distances=own, imagine=shown)

    def begin(self, task: Task, goal: np.ndarray) -> None:
        super().begin(task, goal)
        self.simulator.places = [(Room(task.seed), task.start)]

    def act(self, frame: np.ndarray) -> np.ndarray:
        action = super().act(frame)
        self.simulator.move(action)
        return action
