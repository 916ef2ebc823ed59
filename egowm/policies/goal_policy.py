"""What policies that go to a picture share: the network, and how it drives."""

from abc import ABC
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from egowm.action_module import ActionModule
from egowm.actions import ActionSpec
from egowm.checks import check_between, check_shape
from egowm.diffusion import Generator, randn
from egowm.module_export import POLICY
from egowm.network.convolutions import check_halvings, dense
from egowm.pixels import check_unit

STD = 0.05, 1.0  # the least and the most of an action, where its range is [-1, 1]
LOOKS = 2  # halvings of frame and goal, each alone, before they are compared
TYPICAL = 10.0  # steps to a goal
MOST_STEPS = 10_000  # to a goal
STOP_AT = 1.5  # steps


class Decision(NamedTuple):
    """What the network makes of frames and goals.

    actions: normalised, (N, A). steps: to the goal, (N,), 0 or more.
    """

    actions: Normal
    steps: Tensor


class GoalPolicy(ActionModule, ABC):
    """Frame and goal to the next action and the steps that are left.

    It drives by the network's mean, within the range of the training's actions, and stops where
    fewer than `stop_at` steps are left.

    Args:
        depth: Channels of the first convolution, a multiple of 8; later ones have up to 4 times as
            many.
        units: Width of the layer after them.
        stop_at: Steps; 0 never stops. Needs actions whose zero is to stay.
        size, learning_rate, warmup, spec: As in `ActionModule`.
    """

    export_file = POLICY

    def __init__(
        self,
        depth: int,
        units: int,
        stop_at: float,
        size: int,
        learning_rate: float,
        warmup: int,
        spec: ActionSpec | None,
    ) -> None:
        check_halvings(size)
        super().__init__(size, 1, learning_rate, warmup, spec)
        if units < 1 or depth < 1 or depth % 8:
            raise ValueError(
                f"Expected units of at least 1 and a depth of 8, 16, ..., got {units} and {depth}."
            )
        check_between("stop_at", stop_at, 0, MOST_STEPS)
        self.depth, self.units, self.stop_at = depth, units, stop_at

    def build(self, width: int) -> None:
        levels = self.size.bit_length() - 3  # halvings down to 4x4
        channels = [3, *(self.depth << min(k, 2) for k in range(levels))]
        self.look = nn.Sequential(*_normed(channels[: LOOKS + 1]))
        joint = [2 * channels[min(LOOKS, levels)], *channels[LOOKS + 1 :]]
        self.compare = nn.Sequential(*_normed(joint), nn.Flatten())
        self.head = dense(joint[-1] * 16, self.units, 2 * width + 1)

    def decide(self, frames: Tensor, goals: Tensor) -> Decision:
        """What to do: of frames (N, 3, H, W) and goals (N, 3, H, W) in [0, 1]."""
        both = self.look(torch.cat([frames, goals]) - 0.5).chunk(2)
        found = self.head(self.compare(torch.cat(both, 1))).float()
        mean, spread, steps = found.tensor_split([found.shape[1] // 2, found.shape[1] - 1], 1)
        low, high = STD
        std = low + (high - low) * spread.sigmoid()
        return Decision(Normal(mean, std), TYPICAL * F.softplus(steps[:, 0]))

    def moving(self) -> Tensor:
        """Which dimensions of an action vary (A,), bool; the others have nothing to learn."""
        spec = self.spec_of(None)
        return torch.tensor(spec.high) > torch.tensor(spec.low)

    def log_likelihood(self, found: Normal, actions: Tensor) -> Tensor:
        """Of normalised actions (N, A), (N,), in nats, over the dimensions that vary."""
        return found.log_prob(actions)[:, self.moving()].sum(1)

    def begin(self, goals: Tensor) -> Tensor:
        """The goals (N, 3, H, W) in [0, 1]: all that it remembers."""
        self.check_built()
        check_shape("goals", goals, "N 3 H W")
        self.check_size(*goals.shape[2:])
        check_unit("goals", goals)
        return goals.float().to(self.device)

    @torch.no_grad()
    def act(
        self, memory: Tensor, frames: Tensor, generator: Generator = None
    ) -> tuple[Tensor, Tensor]:
        """See `Policy.act`."""
        check_shape("frames", frames, "N 3 H W", N=len(memory))
        self.check_size(*frames.shape[2:])
        check_unit("frames", frames)
        found = self.decide(frames.float().to(self.device), memory)
        normal = found.actions.mean
        if generator is not None:
            normal = normal + found.actions.stddev * randn(normal.shape, generator, normal.device)
        actions = self.spec_of(None).denormalise(normal.clamp(-1, 1))
        return memory, torch.where((found.steps < self.stop_at)[:, None], 0.0, actions)


def _normed(channels: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(after // 8, after), nn.SiLU()]
    return layers
