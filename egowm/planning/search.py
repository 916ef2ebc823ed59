"""What every planner shares: checks, bounds, evaluation, the best so far, budget and interruption.

A planner is a function of a cost, `Callable[[Tensor (N, T, A)], Tensor (N,)]`, lower is better. Its
plan is the best sample that was evaluated.
"""

import logging
from collections.abc import Callable, Iterator
from time import perf_counter
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from egowm.diffusion import randn

log = logging.getLogger(__name__)
Cost = Callable[[Tensor], Tensor]


class Plan(NamedTuple):
    """The best sequence of actions that was evaluated.

    actions: (T, A). cost: its cost. evaluations: sequences whose cost was asked for. seconds:
    spent. elites: (E, T, A) the best ones, best first, from which a next plan can start.
    interrupted: by Ctrl-C; then this is the best until there.
    """

    actions: Tensor
    cost: float
    evaluations: int
    seconds: float
    elites: Tensor
    interrupted: bool = False


class Search:
    """One search around `mean` (T, A) with standard deviation `std`; used as `with Search(...)`.

    std, low, high: broadcast to (T, A). keep: how many of the best sequences are remembered.
    iterations: rounds at most; None where `seconds` alone ends the search. seconds: a budget; a
    round starts where at least half of it is expected to fit, so that ten rounds end within 10%.
    Raises ValueError for shapes, bounds and numbers that make no search.
    """

    def __init__(
        self,
        cost: Cost,
        mean: Tensor,
        std: Tensor | float,
        low: Tensor | float | None,
        high: Tensor | float | None,
        *,
        iterations: int | None,
        seconds: float | None,
        progress: bool,
        generator: torch.Generator | None,
        keep: int = 1,
    ) -> None:
        if mean.ndim != 2 or not mean.numel() or not mean.is_floating_point():
            raise ValueError(
                f"Expected a floating point mean (T, A), got {tuple(mean.shape)} of {mean.dtype}."
            )
        self.cost, self.keep, self.generator = cost, keep, generator
        self.mean, self.std = mean.detach(), self._broadcast("std", std, mean, 0.0)
        self.low = self._broadcast("low", low, mean, -torch.inf)
        self.high = self._broadcast("high", high, mean, torch.inf)
        self._check(iterations, seconds)
        self.iterations, self.seconds = iterations, seconds
        self.elites, self.costs = mean.new_zeros(0, *mean.shape), mean.new_zeros(0)
        self.evaluations, self.interrupted, self.started = 0, False, perf_counter()
        self.bar = tqdm(total=iterations, desc="planning", leave=False, disable=not progress)

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
            log.warning("Interrupted after %d evaluations: the best so far.", self.evaluations)
        return self.interrupted

    @property
    def plan(self) -> Plan:
        """The best so far. Raises ValueError where no sequence has a finite cost."""
        if not len(self.elites):
            raise ValueError(
                f"All {self.evaluations} evaluated sequences cost inf, so there is no best one: "
                f"widen std or the bounds, or let the cost grade what it forbids."
            )
        seconds = perf_counter() - self.started
        cost = float(self.costs[0])
        return Plan(self.elites[0], cost, self.evaluations, seconds, self.elites, self.interrupted)

    def rounds(self) -> Iterator[int]:
        """Round numbers, until iterations or seconds are used up; the first always runs."""
        number, last = 0, 0.0
        while self.iterations is None or number < self.iterations:
            begun = perf_counter()
            used = begun - self.started
            if number and self.seconds is not None and used + last / 2 > self.seconds:
                return
            yield number
            last, number = perf_counter() - begun, number + 1
            self.bar.set_postfix(cost=float(self.costs[0]) if len(self.costs) else torch.inf)
            self.bar.update()

    def noise(self, count: int) -> Tensor:
        """Standard normal (count, T, A)."""
        return randn((count, *self.mean.shape), self.generator, self.mean.device).to(self.mean)

    def around(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """Samples (N, T, A) within the bounds; the first is the mean itself."""
        samples = mean + std * noise
        samples[0] = mean
        return self.bounded(samples)

    def bounded(self, actions: Tensor) -> Tensor:
        """Each value moved to the nearest allowed one."""
        return torch.minimum(torch.maximum(actions, self.low), self.high)

    def warm(self, initial: Tensor | None) -> Tensor:
        """Sequences to begin with, (M, T, A) within the bounds; none by default."""
        if initial is None:
            return self.mean.new_zeros(0, *self.mean.shape)
        if initial.ndim != 3 or initial.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Expected initial sequences (M, {self.mean.shape[0]}, {self.mean.shape[1]}), got "
                f"{tuple(initial.shape)}."
            )
        return self.bounded(initial.to(self.mean))

    def evaluate(self, actions: Tensor) -> Tensor:
        """Costs (N,) of sequences (N, T, A), without gradients; the best are remembered."""
        with torch.no_grad():
            costs = self.cost(actions)
        return self.remember(actions, costs)

    def remember(self, actions: Tensor, costs: Tensor) -> Tensor:
        """`costs` (N,), checked, as they are; the best sequences are kept."""
        count = len(actions)
        if not isinstance(costs, Tensor) or costs.shape != (count,):
            got = tuple(costs.shape) if isinstance(costs, Tensor) else type(costs).__name__
            raise ValueError(
                f"Expected costs of shape ({count},) for {count} sequences, got {got}."
            )
        broken = costs.isnan() | (costs == -torch.inf)
        if broken.any():
            first = int(broken.nonzero()[0])
            raise ValueError(
                f"{int(broken.sum())} of {count} costs are NaN or -inf, the first is that of "
                f"sequence {first}: expected finite numbers, or inf for what is forbidden."
            )
        self.evaluations += count
        found = costs.detach().to(self.mean)
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
                f"No elites: all {len(costs)} sequences of this round cost inf. Widen std or the "
                f"bounds, or let the cost grade what it forbids."
            )
        return actions[order]

    # What was asked for, checked ------------------------------------------------------------------

    @staticmethod
    def _broadcast(name: str, value: Tensor | float | None, mean: Tensor, default: float) -> Tensor:
        given = torch.as_tensor(default if value is None else value).to(mean)
        try:
            return given.detach().expand_as(mean)
        except RuntimeError:
            raise ValueError(
                f"Expected {name} to broadcast to (T, A) = {tuple(mean.shape)}, got "
                f"{tuple(given.shape)}."
            ) from None

    def _check(self, iterations: int | None, seconds: float | None) -> None:
        if not bool((self.std >= 0).all() & self.std.isfinite().all()):
            raise ValueError("Expected std of 0 or more everywhere, got a negative one or NaN.")
        if not bool((self.low <= self.high).all()):
            step, dim = (~(self.low <= self.high)).nonzero()[0].tolist()
            raise ValueError(
                f"Expected low <= high, got {float(self.low[step, dim]):g} and "
                f"{float(self.high[step, dim]):g} at step {step}, dimension {dim}."
            )
        inside = (self.low <= self.mean) & (self.mean <= self.high)
        if not bool(inside.all()):
            step, dim = (~inside).nonzero()[0].tolist()
            raise ValueError(
                f"Expected mean within the bounds; at step {step}, dimension {dim} it is "
                f"{float(self.mean[step, dim]):g}, outside {float(self.low[step, dim]):g} to "
                f"{float(self.high[step, dim]):g}."
            )
        if iterations is None and seconds is None:
            raise ValueError("Expected iterations, seconds or both: something must end the search.")
        if iterations is not None and iterations < 1:
            raise ValueError(f"Expected at least 1 iteration, got {iterations}.")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"Expected a budget of more than 0 seconds, got {seconds}.")


def check_counts(samples: int, elites: int = 1) -> None:
    """Refuse numbers of samples and elites that leave nothing to choose from."""
    if samples < 1:
        raise ValueError(f"Expected at least 1 sample, got {samples}.")
    if not 1 <= elites <= samples:
        raise ValueError(f"Expected 1 to {samples} (samples) elites, got {elites}.")


def shifted(actions: Tensor, steps: int) -> Tensor:
    """Sequences (..., T, A) after `steps` of their actions were carried out: the rest, and then the
    last action again and again. Where a next plan begins."""
    kept = actions[..., min(steps, actions.shape[-2]) :, :]
    missing = actions.shape[-2] - kept.shape[-2]
    return torch.cat([kept, actions[..., -1:, :].expand_as(actions)[..., :missing, :]], -2)
