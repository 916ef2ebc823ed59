"""The part that all planners share: budget, evaluation, the best so far, interruption.

A planner is a function of a cost, `Callable[[Tensor (N, T, A)], Tensor (N,)]`, lower is better. Its
plan is the best sample that was evaluated.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from egowm.checks import check_between, check_shape, checked, counted, shown
from egowm.diffusion import randn
from egowm.planning.space import Space

log = logging.getLogger(__name__)
Cost = Callable[[Tensor], Tensor]
MOST = 1_000_000  # rounds of a search, or samples of a round: more is a mistake that would hang


class Plan(NamedTuple):
    """The best sequence of actions that was evaluated.

    Args:
        actions: (T, A) in the units of the space.
        cost: Its cost.
        evaluations: Sequences whose cost was computed.
        seconds: Time spent.
        elites: (E, T, A) the best ones, best first, from which a next plan can start.
        interrupted: By Ctrl-C; then this is the best until there.

    >>> best = torch.zeros(8, 2)
    >>> plan = Plan(best, cost=0.5, evaluations=64, seconds=1.0, elites=best[None])
    >>> plan.cost, plan.elites.shape
    (0.5, torch.Size([1, 8, 2]))
    """

    actions: Tensor
    cost: float
    evaluations: int
    seconds: float
    elites: Tensor
    interrupted: bool = False


@checked
@dataclass(frozen=True)
class Budget:
    """When a search ends.

    Args:
        iterations: Rounds at most; None where `seconds` alone ends the search.
        seconds: Time at most; a round starts where at least half of it is expected to fit, so that
            ten rounds end within 10%. The first always runs.
        progress: Show a bar.

    Raises ValueError where nothing ends it, and for numbers that leave no round.

    >>> Budget(seconds=0.5)
    Budget(iterations=None, seconds=0.5, progress=False)
    """

    iterations: int | None = None
    seconds: float | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.iterations is None and self.seconds is None:
            raise ValueError("Expected iterations, seconds or both: something must end the search.")
        if self.iterations is not None and self.iterations < 1:
            raise ValueError(f"Expected at least 1 iteration, got {self.iterations}.")
        check_between("iterations", self.iterations or 1, 1, MOST)
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"Expected a budget of more than 0 seconds, got {self.seconds}.")


class Search:
    """One search in a space; used as `with Search(...)`.

    Args:
        cost: Of sequences, (N, T, A) to (N,); lower is better.
        space: Where to look.
        iterations: Rounds, or a `Budget`.
        generator: Of the samples.
        initial: Sequences (M, T, A) to try in the first round, besides the samples.
        keep: How many of the best sequences are remembered, at least one.
    """

    def __init__(
        self,
        cost: Cost,
        space: Space,
        iterations: int | Budget,
        generator: torch.Generator | None,
        initial: Tensor | None = None,
        *,
        keep: int = 1,
    ) -> None:
        budget = iterations if isinstance(iterations, Budget) else Budget(iterations)
        self.cost, self.space, self.budget, self.keep = cost, space, budget, max(1, keep)
        self.generator, self.initial = generator, self._initial(initial)
        mean = space.mean
        self.elites, self.costs = mean.new_zeros(0, *mean.shape), mean.new_zeros(0)
        self.evaluations, self.interrupted, self.started = 0, False, perf_counter()
        self.bar = tqdm(
            total=budget.iterations, desc="planning", leave=False, disable=not budget.progress
        )

    def __enter__(self) -> "Search":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Ctrl-C ends a search that has found something, and is passed on where it has not."""
        self.bar.close()
        self.interrupted = kind is KeyboardInterrupt and len(self.elites) > 0
        if self.interrupted:
            log.warning(
                "Interrupted after %s: the best so far.", counted(self.evaluations, "evaluation")
            )
        return self.interrupted

    @property
    def plan(self) -> Plan:
        """The best so far. Raises ValueError where no sequence has a finite cost."""
        if not len(self.elites):
            raise ValueError(
                f"{counted(self.evaluations, 'sequence')} evaluated, all at cost inf: no best one: "
                f"widen std or the bounds, or let the cost grade what it forbids."
            )
        seconds = perf_counter() - self.started
        cost = float(self.costs[0])
        return Plan(self.elites[0], cost, self.evaluations, seconds, self.elites, self.interrupted)

    def rounds(self) -> Iterator[int]:
        """Round numbers, until iterations or seconds are used up; the first always runs."""
        most, seconds = self.budget.iterations, self.budget.seconds
        number, last = 0, 0.0
        while most is None or number < most:
            begun = perf_counter()
            used = begun - self.started
            if number and seconds is not None and used + last / 2 > seconds:
                return
            yield number
            last, number = perf_counter() - begun, number + 1
            self.bar.set_postfix(cost=float(self.costs[0]) if len(self.costs) else torch.inf)
            self.bar.update()

    def noise(self, count: int) -> Tensor:
        """Standard normal (count, T, A)."""
        mean = self.space.mean
        return randn((count, *mean.shape), self.generator, mean.device).to(mean)

    def around(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """Samples (N, T, A) within the bounds, the first the mean itself; then, the first time, the
        initial sequences."""
        samples = mean + std * noise
        samples[0] = mean
        samples = torch.cat([self.space.bounded(samples), self.initial])
        self.initial = self.initial[:0]
        return samples

    def _initial(self, given: Tensor | None) -> Tensor:
        """Sequences to begin with, (M, T, A) within the bounds; none by default."""
        mean = self.space.mean
        if given is None:
            return mean.new_zeros(0, *mean.shape)
        if given.ndim != 3 or given.shape[1:] != mean.shape:
            raise ValueError(
                f"Expected initial sequences (M, {mean.shape[0]}, {mean.shape[1]}), got "
                f"{tuple(given.shape)}."
            )
        if not given.isfinite().all():
            raise ValueError("Expected initial sequences of finite numbers, got NaN or inf.")
        return self.space.bounded(given.to(mean))

    def evaluate(self, actions: Tensor) -> Tensor:
        """Costs (N,) of sequences (N, T, A), without gradients; the best are remembered."""
        with torch.no_grad():
            costs = self.cost(actions)
        return self.remember(actions, costs)

    def remember(self, actions: Tensor, costs: Tensor) -> Tensor:
        """`costs` (N,), checked, as they are; the best sequences are kept."""
        count = len(actions)
        check_costs(costs, count)
        broken = costs.isnan() | (costs == -torch.inf)
        if broken.any():
            first = int(broken.nonzero()[0])
            raise ValueError(
                f"NaN or -inf in {int(broken.sum())} of {counted(count, 'cost')}, first in "
                f"sequence {first}: expected finite numbers, or inf for what is forbidden."
            )
        self.evaluations += count
        found = costs.detach().to(self.costs)
        every = torch.cat([self.costs, found])
        order = every.argsort(stable=True)[: self.keep]
        order = order[every[order].isfinite()]
        self.elites = torch.cat([self.elites, actions.detach()])[order]
        self.costs = every[order]
        return costs

    def best(self, actions: Tensor, costs: Tensor, count: int) -> Tensor:
        """The `count` cheapest of one round's sequences, fewer where others cost inf.

        Raises ValueError where none has a finite cost.
        """
        order = costs.argsort(stable=True)[:count]
        order = order[costs[order].isfinite()]
        if not len(order):
            raise ValueError(
                f"No elites: {counted(len(costs), 'sequence')} in this round, all at cost inf. "
                f"Widen std or the bounds, or let the cost grade what it forbids."
            )
        return actions[order]


def check_costs(costs: object, count: int) -> None:
    """Refuse what is not a cost for each of `count` sequences."""
    if not isinstance(costs, Tensor) or costs.shape != (count,) or costs.is_complex():
        got = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
        sequences = counted(count, "sequence")
        raise ValueError(f"Expected costs of shape ({count},) for {sequences}, got {got}.")


def check_plan(plan: object, space: Space) -> None:
    """Refuse what a planner of somebody else's gave in place of a plan in the space."""
    if not isinstance(plan, Plan) or plan.actions.shape != space.mean.shape:
        raise ValueError(
            f"Expected a Plan with actions {tuple(space.mean.shape)} from the planner, got "
            f"{shown(plan)}."
        )


def check_counts(samples: int, elites: int = 1) -> None:
    """Refuse numbers of samples and elites that leave nothing to choose from."""
    if samples < 1:
        raise ValueError(f"Expected at least 1 sample, got {samples}.")
    check_between("samples", samples, 1, MOST)
    if not 1 <= elites <= samples:
        raise ValueError(f"Expected 1 to {samples} (samples) elites, got {elites}.")


@checked
def shifted(actions: Tensor, steps: int) -> Tensor:
    """Where a next plan begins: the rest of a plan, and then its last action again and again.

    Args:
        actions: (..., T, A), tensor or array.
        steps: Actions that were carried out, 0 or more.

    >>> shifted(torch.tensor([[1.0], [2.0], [3.0]]), 1).flatten().tolist()
    [2.0, 3.0, 3.0]
    """
    check_shape("actions", actions, "... T A")
    if steps < 0:
        raise ValueError(f"Expected 0 or more steps to be carried out, got {steps}.")
    kept = actions[..., min(steps, actions.shape[-2]) :, :]
    missing = actions.shape[-2] - kept.shape[-2]
    return torch.cat([kept, actions[..., -1:, :].expand_as(actions)[..., :missing, :]], -2)
