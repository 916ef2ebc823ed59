"""Model predictive control: plan, act a little, look again, plan on from there."""

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from egowm.checks import check_between, check_shape, checked
from egowm.planning.calls import takes_space
from egowm.planning.search import Cost, Plan, check_plan, shifted
from egowm.planning.space import Space

Observation = TypeVar("Observation")
LEAST = 0.1  # of the space's standard deviation, around what is proposed


class Planner(Protocol):
    """A planner with its own settings filled in, `partial(cem, samples=.., elites=..)`."""

    def __call__(
        self,
        cost: Cost,
        space: Space,
        *,
        generator: torch.Generator | None,
        initial: Tensor | None,
    ) -> Plan: ...


@checked
class MPC(Generic[Observation]):
    """An agent that plans T actions ahead and plans again after `every` of them.

    Args:
        planner: A planner with its own settings filled in, `partial(cem, samples=.., elites=..)`.
        cost_of: An observation to the cost of what follows it, for example
            `lambda seen: goal_cost(model, seen, goal)`.
        space: Of every search, (T, A). The first begins at its mean; later ones begin with the plan
            before, shifted by what was done, and with its elites.
        every: Actions that are carried out before it plans again.
        generator: Of the samples.
        until: What is seen and a new plan to the actions carried out before it plans again, in
            [0, every], in place of `every`. 0 ends the episode: from then on every action is zero.
        propose: What is seen to sequences (N, T, A), as a policy's. Each search begins with their
            mean in place of the space's and their standard deviation, which is at least a tenth of
            the space's; they are the first that it tries, as many as the planner takes.

    Raises ValueError for `every` beyond the horizon.

    >>> from functools import partial
    >>> from egowm.planning.gradient import gradient
    >>> def cost_of(seen):  # the sum of the actions should lead from what is seen to 1
    ...     return lambda actions: (seen + actions.sum((1, 2)) - 1).square()
    >>> agent = MPC(partial(gradient, iterations=40), cost_of, Space(torch.zeros(2, 1), std=0.5))
    >>> round(float(agent.act(0.0)), 1), round(float(agent.act(0.6)), 1)
    (0.5, 0.2)
    """

    @takes_space
    def __init__(
        self,
        planner: Planner,
        cost_of: Callable[[Observation], Cost],
        space: Space,
        *,
        every: int = 1,
        generator: torch.Generator | None = None,
        until: Callable[[Observation, Plan], int] | None = None,
        propose: Callable[[Observation], Tensor] | None = None,
    ) -> None:
        horizon = len(space.mean)
        if not 1 <= every <= horizon:
            raise ValueError(f"Expected every from 1 to {horizon} (the horizon), got {every}.")
        self.planner, self.cost_of, self.space = planner, cost_of, space
        self.every, self.generator, self.until, self.propose = every, generator, until, propose
        self.reset()

    def reset(self) -> None:
        """Forget the last plan: a new episode begins."""
        self.plan: Plan | None = None
        self.done = 0  # actions carried out of the last plan
        self.due = self.every  # actions of it after which to plan again; 0: arrived

    def act(self, observation: Observation) -> Tensor:
        """The next action (A,), in the units of the space; planned anew where it is time to.

        Args:
            observation: What is seen now, of the kind that `cost_of` takes.
        """
        if self.plan is None or self.done == self.due > 0:
            self.plan = self._plan(observation)
            self.done, self.due = 0, self._due(observation, self.plan)
        if not self.due:
            return torch.zeros_like(self.plan.actions[0])
        action = self.plan.actions[self.done]
        self.done += 1
        return action

    def _due(self, observation: Observation, plan: Plan) -> int:
        due = self.every if self.until is None else self.until(observation, plan)
        check_between("what until gives", due, 0, self.every)
        return due

    def _plan(self, observation: Observation) -> Plan:
        space, initial = self.space, None
        if self.plan is not None:
            space = replace(space, mean=shifted(self.plan.actions, self.done))
            initial = shifted(self.plan.elites, self.done)
        if self.propose is not None:
            space, proposed = self._proposed(observation)
            initial = proposed if initial is None else torch.cat([proposed, initial])
        cost = self.cost_of(observation)
        plan = self.planner(cost, space, generator=self.generator, initial=initial)
        check_plan(plan, space)
        return plan

    def _proposed(self, observation: Observation) -> tuple[Space, Tensor]:
        """The space around what is proposed, and the proposed sequences within it."""
        assert self.propose is not None
        given, shape = self.propose(observation), self.space.mean.shape
        check_shape("what propose gives", given, "N T A", T=shape[0], A=shape[1])
        if not given.numel() or not given.isfinite().all():
            raise ValueError("Expected proposed sequences of finite numbers, got none or NaN.")
        sequences = self.space.bounded(given.to(self.space.mean))
        spread = torch.maximum(sequences.std(0, correction=0), LEAST * self.space.std)
        return replace(self.space, mean=sequences.mean(0), std=spread), sequences
