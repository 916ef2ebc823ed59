"""Terms of a cost of imagined futures; each names the frames that must be decoded for it.

A term is called with a `Rollout` of N candidates and their actions (N, T, A), and gives (N,), lower
is better. `egowm.planning.goal.goal_cost` makes a planner's cost of one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from egowm.checks import check_between, check_float, check_shape, checked, shown
from egowm.planning.search import check_costs
from egowm.planning.space import Numbers
from egowm.sampling import Decode, Rollout

MOST_WEIGHT = 1e30  # times a cost of usual size, still in float32's range
_NEEDS: tuple[Decode, ...] = ("none", "last", "all")


@runtime_checkable
class Term(Protocol):
    """One part of a cost. needs: which frames it looks at."""

    @property
    def needs(self) -> Decode: ...

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor: ...


@checked
@dataclass(frozen=True)
class Pixels:
    """Mean squared difference between the last frame and a goal (3, H, W) in [0, 1].

    pool: both are averaged over squares of so many pixels first, which widens the valley.
    """

    goal: Tensor
    pool: int = 1
    needs: Decode = "last"

    def __post_init__(self) -> None:
        check_shape("goal", self.goal, "3 H W")
        check_between("pool", self.pool, 1, min(self.goal.shape[1:]))

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        last = last_frame(rollout)
        check_goal(self.goal, last)
        difference = last - self.goal.to(last)
        if self.pool > 1:
            difference = torch.nn.functional.avg_pool2d(difference, self.pool)
        return difference.square().mean((1, 2, 3))


@checked
@dataclass(frozen=True)
class Latents:
    """Mean squared difference between the last latent frame and that of the goal (c, h, w);
    nothing is decoded. See `goal_latents`."""

    goal: Tensor
    needs: Decode = "none"

    def __post_init__(self) -> None:
        if not self.goal.is_floating_point() or not self.goal.isfinite().all():
            raise ValueError("Expected goal latents of finite floats: make them by goal_latents.")

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        last = _imagined(rollout, "latents", "N t c h w")[:, -1]
        if self.goal.shape != last.shape[1:]:
            raise ValueError(
                f"Expected goal latents {tuple(last.shape[1:])}, got {tuple(self.goal.shape)}: "
                f"make them with goal_latents from a frame of the context's size."
            )
        return (last - self.goal.to(last)).square().mean((1, 2, 3))


@checked
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
        last = last_frame(rollout)
        check_goal(self.goal, last)
        made, wanted = self.extract(last), self.extract(self.goal[None].to(last))
        for found, count in ((made, len(last)), (wanted, 1)):
            if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != count:
                raise ValueError(f"Expected features ({count}, ...), got {shown(found)}.")
        costs = self.distance(made, wanted)
        check_costs(costs, len(last))
        return costs


@checked
@dataclass(frozen=True)
class Frames:
    """A function of your own: all imagined frames (N, T, 3, H, W) in [0, 1] to costs (N,); with
    needs "last" it gets (N, 1, 3, H, W)."""

    function: Callable[[Tensor], Tensor]
    needs: Decode = "all"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        frames = _imagined(rollout, "frames", "N T 3 H W")
        costs = self.function(frames)
        check_costs(costs, len(frames))
        return costs


@checked
@dataclass(frozen=True)
class Magnitude:
    """Mean squared action; scale (A,): what counts as 1, for example the bounds' `high`."""

    scale: Numbers = 1.0
    needs: Decode = "none"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        return _scaled(actions, self.scale).square().mean((1, 2))


@checked
@dataclass(frozen=True)
class Smoothness:
    """Mean squared change from one action to the next; scale: as in `Magnitude`."""

    scale: Numbers = 1.0
    needs: Decode = "none"

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        scaled = _scaled(actions, self.scale)
        if actions.shape[1] < 2:
            return actions.new_zeros(len(actions))
        return scaled.diff(dim=1).square().mean((1, 2))


@checked
class Weighted:
    """A weighted sum of terms, `Weighted((1.0, Pixels(goal)), (0.1, Smoothness()))`."""

    def __init__(self, *parts: tuple[float, Term]) -> None:
        if not parts:
            raise ValueError("Expected at least one pair of a weight and a term, got none.")
        for weight, _ in parts:
            check_between("a weight", weight, -MOST_WEIGHT, MOST_WEIGHT)
        self.parts = parts

    @property
    def needs(self) -> Decode:
        return max((term.needs for _, term in self.parts), key=_NEEDS.index)

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        return torch.stack([w * term(rollout, actions) for w, term in self.parts]).sum(0)


@checked
@dataclass(frozen=True)
class OnTheWay:
    """The least of a term over all imagined frames, for a robot that can stop where it is least.

    term: of the last frame or latent: `Pixels`, `Latents` or `Features`.

    >>> way = torch.zeros(1, 3, 3, 2, 2)
    >>> way[0, 1] = 1.0  # the goal is met by the second of three frames
    >>> cost = OnTheWay(Pixels(torch.ones(3, 2, 2)))
    >>> cost.each(Rollout(way, way, 0), torch.zeros(1, 3, 1)).tolist()
    [[1.0, 0.0, 1.0]]
    """

    term: Term

    def __post_init__(self) -> None:
        if not isinstance(self.term, Pixels | Latents | Features):
            raise ValueError(
                f"Expected a term of one frame (Pixels, Latents, Features), got "
                f"{type(self.term).__name__}."
            )

    @property
    def needs(self) -> Decode:
        return "all" if self.term.needs == "last" else self.term.needs

    def each(self, rollout: Rollout, actions: Tensor) -> Tensor:
        """The term at every frame (N, T); of `Latents` at every latent frame."""
        part = "latents" if self.term.needs == "none" else "frames"
        shown = _imagined(rollout, part, "N T C H W")
        ends = [
            self.term(Rollout(shown[:, : k + 1], shown[:, : k + 1], 0), actions)
            for k in range(shown.shape[1])
        ]
        return torch.stack(ends, 1)

    def __call__(self, rollout: Rollout, actions: Tensor) -> Tensor:
        return self.each(rollout, actions).amin(1)


def last_frame(rollout: Rollout) -> Tensor:
    """The last frames (N, 3, H, W) of imagined futures, where any was decoded."""
    return _imagined(rollout, "frames", "N T 3 H W")[:, -1].float()


def _imagined(rollout: Rollout, part: str, axes: str) -> Tensor:
    """A part of the future, which a term of somebody else's future may lack."""
    found: Any = getattr(rollout, part, rollout)
    if getattr(found, "ndim", 0) > 1 and not found.shape[1]:
        raise ValueError(
            f"Expected imagined {part}, got none: of a model without a decoder compare latents "
            f"(--by latents), and decode what a cost of frames looks at."
        )
    check_shape(part, found, axes)
    check_float(part, found)
    imagined: Tensor = found
    return imagined


def check_goal(goal: Tensor, frames: Tensor) -> None:
    """Refuse a goal (3, H, W) of another size or range than imagined frames (N, 3, H, W)."""
    if goal.shape != frames.shape[1:]:
        raise ValueError(
            f"Expected a goal of shape {tuple(frames.shape[1:])}, as the imagined frames, got "
            f"{tuple(goal.shape)}."
        )
    if not goal.is_floating_point() or not (goal.min() >= 0 and goal.max() <= 1):
        raise ValueError("Expected a goal of floats in [0, 1]: divide uint8 frames by 255.")


def _scaled(actions: Tensor, scale: Numbers) -> Tensor:
    """In units of `scale`; a dimension whose scale is 0 does not count."""
    check_shape("actions", actions, "N T A")
    check_float("actions", actions)
    unit = torch.as_tensor(scale).to(actions)
    if unit.ndim:
        check_shape("scale", unit, "A", A=actions.shape[2])
    if not unit.isfinite().all():
        raise ValueError("Expected a scale of finite numbers, got NaN or inf.")
    return torch.where(unit != 0, actions / torch.where(unit != 0, unit, 1.0), 0.0)
