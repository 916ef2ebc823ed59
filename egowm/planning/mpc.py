"""Model predictive control: plan, act a little, look again, plan on from there."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from egowm.planning.search import Cost, Plan, shifted

Observation = TypeVar("Observation")


class Planner(Protocol):
    """A planner with its own settings filled in, `partial(cem, samples=.., elites=..)`."""

    def __call__(
        self,
        cost: Cost,
        mean: Tensor,
        std: Tensor | float,
        *,
        low: Tensor | float | None,
        high: Tensor | float | None,
        generator: torch.Generator | None,
        initial: Tensor | None,
    ) -> Plan: ...


class MPC(Generic[Observation]):
    """An agent that plans `len(mean)` actions ahead and plans again after `every` of them.

    cost_of: an observation to the cost of what follows it, for example
    `lambda seen: goal_cost(model, seen, goal)`. mean: (T, A), where the first search begins; later
    ones begin with the plan before, shifted by what was done, and with its elites. std, low, high:
    of every search, broadcast to (T, A).
    """

    def __init__(
        self,
        planner: Planner,
        cost_of: Callable[[Observation], Cost],
        mean: Tensor,
        std: Tensor | float,
        *,
        every: int = 1,
        low: Tensor | float | None = None,
        high: Tensor | float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if not 1 <= every <= len(mean):
            raise ValueError(f"Expected every from 1 to {len(mean)} (the horizon), got {every}.")
        self.planner, self.cost_of, self.mean, self.std = planner, cost_of, mean, std
        self.every, self.low, self.high, self.generator = every, low, high, generator
        self.reset()

    def reset(self) -> None:
        """Forget the last plan: a new episode begins."""
        self.plan: Plan | None = None
        self.done = 0  # actions carried out of the last plan

    def act(self, observation: Observation) -> Tensor:
        """The next action (A,), planned anew from `observation` where it is time to."""
        if self.plan is None or self.done == self.every:
            self.plan = self._plan(observation)
            self.done = 0
        action = self.plan.actions[self.done]
        self.done += 1
        return action

    def _plan(self, observation: Observation) -> Plan:
        mean, initial = self.mean, None
        if self.plan is not None:
            mean = shifted(self.plan.actions, self.every)
            initial = shifted(self.plan.elites, self.every)
        return self.planner(
            self.cost_of(observation),
            mean,
            self.std,
            low=self.low,
            high=self.high,
            generator=self.generator,
            initial=initial,
        )
