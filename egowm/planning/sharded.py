"""A cost whose candidates are imagined on several devices at once."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from egowm.checks import check_shape, checked, counted
from egowm.planning.goal import GoalCost
from egowm.planning.search import check_costs
from egowm.sampling import Rollout

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics

log = logging.getLogger(__name__)
MOST = 1024  # devices
# Of each model, its copies and the state of the weights that were copied: a planner makes a new
# cost at every look, and a copy takes longer than a plan.
_COPIES: WeakKeyDictionary[Any, tuple[list[int], dict[str, Any]]] = WeakKeyDictionary()


@checked
class ShardedCost:
    """A planner's cost of candidates (N, T, A) that several devices imagine; see `sharded`.

    Args:
        costs: The same cost with the model on each device; the first one applies the term.

    `candidates` counts those imagined so far.
    """

    def __init__(self, costs: Sequence[GoalCost]) -> None:
        if not costs:
            raise ValueError("Expected the cost on at least one device, got none.")
        self.costs, self.micro_batch, self.candidates = list(costs), costs[0].micro_batch, 0

    @checked
    def __call__(self, actions: Tensor) -> Tensor:
        """Costs (N,), on the device of the actions.

        Args:
            actions: (N, T, A) in physical units, tensor or array.
        """
        check_shape("actions", actions, "N T A")
        found: list[Tensor] = []
        done = 0
        while done < len(actions):
            lot = self._lot(actions[done:])
            try:
                found += self._at_once(lot)
                done += sum(map(len, lot))
            except torch.OutOfMemoryError:
                self._halve(max(map(len, lot)))
        return torch.cat(found).to(actions)

    def _lot(self, actions: Tensor) -> list[Tensor]:
        """A part for each device: micro-batches as one device would take, or less where they do not
        reach for all."""
        evenly = -(-len(actions) // len(self.costs))
        parts = actions.split(min(self.micro_batch, evenly))
        return list(islice(parts, len(self.costs)))

    def _at_once(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The costs of a part for each device. Terms may hold networks, so one device has them."""
        gradient, home = torch.is_grad_enabled(), self.costs[0]

        def imagine(cost: GoalCost, part: Tensor) -> Rollout:
            device = cost.model.device  # threads begin without either setting
            on = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
            with torch.set_grad_enabled(gradient), on:
                return cost.imagine(part)

        with ThreadPoolExecutor(len(parts)) as pool:
            made = list(pool.map(imagine, self.costs, parts))
        costs = []
        for rollout, part in zip(made, parts, strict=True):
            here = rollout._replace(
                frames=rollout.frames.to(home.model.device),
                latents=rollout.latents.to(home.model.device),
            )
            costs.append(home.term(here, part.to(home.model.device, torch.float32)))
            check_costs(costs[-1], len(part))
            self.candidates += len(part)
        return costs

    def _halve(self, size: int) -> None:
        if size == 1:
            raise torch.OutOfMemoryError("A device's memory does not hold one candidate.")
        self.micro_batch = size // 2
        log.warning("candidates at once that do not fit: %d, now %d", size, self.micro_batch)


@checked
def sharded(cost: GoalCost, devices: Sequence[str]) -> ShardedCost:
    """The same cost, whose candidates several devices imagine at once.

    Threads of this process drive the devices. Every candidate sees the same noise wherever it is
    imagined, so the plan is the one of a single device: to the bit where devices are of one kind
    and there is a micro-batch for each, else up to the rounding of another batch size. The model is
    copied to each device once and for all costs, and again where its weights have changed since.

    Args:
        cost: Made by `goal_cost`; its model's device is where the term is applied.
        devices: Of the copies, "cuda:0", "cuda:1" ...; one may be named twice.

    Raises:
        ValueError: No device, or not one of torch's.

    >>> from egowm import WorldModel
    >>> from egowm.planning import goal_cost
    >>> model, here = WorldModel.from_pretrained("rooms"), torch.zeros(1, 1, 3, 64, 64)
    >>> cost = sharded(goal_cost(model, here, torch.zeros(3, 64, 64)), ["cpu", "cpu"])
    >>> cost(torch.zeros(3, 1, 3)).shape, cost.candidates
    (torch.Size([3]), 3)
    """
    if not isinstance(cost.model, torch.nn.Module):
        raise ValueError(
            f"Expected the cost of a network's imagination, got that of a "
            f"{type(cost.model).__name__}, which has no copy on another device."
        )
    if not 1 <= len(devices) <= MOST:
        raise ValueError(f"Expected from 1 to {MOST} devices, got {len(devices)}.")
    return ShardedCost([_placed(cost, model) for model in _copies(cost.model, devices)])


def _placed(cost: GoalCost, model: "Dynamics") -> GoalCost:
    """The cost with a copy of its model."""
    how, given = cost.how, (cost.state, cost.text, cost.source)
    found = GoalCost(model, cost.context, cost.term, how, cost.noise, *given)
    found.micro_batch = cost.micro_batch
    return found


def _copies(model: Any, devices: Sequence[str]) -> list[Any]:
    """The model itself where its device comes first, and a copy for each other place."""
    weights = (*model.parameters(), *model.buffers())
    stamp = [number for value in weights for number in (value._version, value.data_ptr())]
    known, copies = _COPIES.get(model, ([], {}))
    if known != stamp:
        copies = {}
    _COPIES[model] = stamp, copies
    found, places = [], [_device(name) for name in devices]  # "cuda" is one of "cuda:N"
    for k, device in enumerate(places):
        free = device == model.device and model not in found
        key = f"{device} {places[:k].count(device)}"
        if not free and key not in copies:
            copies[key] = deepcopy(model).to(device)
        found.append(model if free else copies[key])
    return found


def _device(name: str) -> torch.device:
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"Expected a device such as cpu or cuda:1, got {name!r}.") from error
    if found.type != "cuda":
        return found
    index: int | None = found.index
    count = torch.cuda.device_count()
    if (index or 0) >= count:
        raise ValueError(f"{name}: torch finds {counted(count, 'GPU')} here.")
    return torch.device("cuda", torch.cuda.current_device() if index is None else index)
