"""Terms of a cost of imagined futures; each names the frames that must be decoded for it.

A term is called with a `Rollout` of N candidates and their actions (N, T, A), and gives (N,), lower
is better. `egowm.planning.goal.goal_cost` makes a planner's cost of one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from egowm.sampling import Decode, Rollout

_NEEDS: tuple[Decode, ...] = ("none", "last", "all")


@runtime_checkable
class Term(Protocol):
    """One part of a cost. needs: which frames it looks at."""

    @property
    def needs(self) -> Decode: ...

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Pixels:
    """Mean squared difference between the last frame and a goal (3, H, W) in [0, 1].

    pool: both are averaged over squares of so many pixels first, which widens the valley.
    """

    goal: Tensor
    pool: int = 1
    needs: Decode = "last"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        last = rollout.frames[:, -1]
        check_goal(self.goal, last)
        difference = last - self.goal.to(last)
        if self.pool > 1:
            difference = torch.nn.functional.avg_pool2d(difference, self.pool)
        return difference.square().mean((1, 2, 3))


@dataclass(frozen=True)
class Latents:
    """Mean squared difference between the last latent frame and that of the goal (c, h, w);
    nothing is decoded. See `goal_latents`."""

    goal: Tensor
    needs: Decode = "none"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        last = rollout.latents[:, -1]
        if self.goal.shape != last.shape[1:]:
            raise ValueError(
                f"Expected goal latents {tuple(last.shape[1:])}, got {tuple(self.goal.shape)}: "
                f"make them with goal_latents from a frame of the context's size."
            )
        return (last - self.goal.to(last)).square().mean((1, 2, 3))


@dataclass(frozen=True)
class Features:
    """Distance of the last frame's features from the goal's, as `distance` measures it.

    extract: frames (N, 3, H, W) in [0, 1] to features whose first axis is N (see
    `egowm.planning.features`). distance: of features (N, ...) and (1, ...) to (N,).
    """

    goal: Tensor
    extract: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]
    needs: Decode = "last"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        last = rollout.frames[:, -1]
        check_goal(self.goal, last)
        return self.distance(self.extract(last), self.extract(self.goal[None].to(last)))


@dataclass(frozen=True)
class Frames:
    """A function of your own: all imagined frames (N, T, 3, H, W) in [0, 1] to costs (N,); with
    needs "last" it gets (N, 1, 3, H, W)."""

    function: Callable[[Tensor], Tensor]
    needs: Decode = "all"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        return self.function(rollout.frames)


@dataclass(frozen=True)
class Magnitude:
    """Mean squared action; scale (A,): what counts as 1, for example the bounds' `high`."""

    scale: Tensor | float = 1.0
    needs: Decode = "none"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        return _scaled(actions, self.scale).square().mean((1, 2))


@dataclass(frozen=True)
class Smoothness:
    """Mean squared change from one action to the next; scale: as in `Magnitude`."""

    scale: Tensor | float = 1.0
    needs: Decode = "none"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        if actions.shape[1] < 2:
            return actions.new_zeros(len(actions))
        return _scaled(actions, self.scale).diff(dim=1).square().mean((1, 2))


class Weighted:
    """A weighted sum of terms, `Weighted((1.0, Pixels(goal)), (0.1, Smoothness()))`."""

    def __init__(self, *parts: tuple[float, Term]) -> None:
        if not parts:
            raise ValueError("Expected at least one pair of a weight and a term, got none.")
        self.parts = parts

    @property
    def needs(self) -> Decode:
        return max((term.needs for _, term in self.parts), key=_NEEDS.index)

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        return torch.stack([w * term(rollout, actions) for w, term in self.parts]).sum(0)


def check_goal(goal: Tensor, frames: Tensor) -> None:
    """Refuse a goal (3, H, W) of another size or range than imagined frames (N, 3, H, W)."""
    if goal.shape != frames.shape[1:]:
        raise ValueError(
            f"Expected a goal of shape {tuple(frames.shape[1:])}, as the imagined frames, got "
            f"{tuple(goal.shape)}."
        )
    if not goal.is_floating_point() or goal.min() < 0 or goal.max() > 1:
        raise ValueError("Expected a goal of floats in [0, 1]: divide uint8 frames by 255.")


def _scaled(actions: Tensor, scale: Tensor | float) -> Tensor:
    """In units of `scale`; a dimension whose scale is 0 does not count."""
    unit = torch.as_tensor(scale).to(actions)
    return torch.where(unit != 0, actions / torch.where(unit != 0, unit, 1.0), 0.0)
