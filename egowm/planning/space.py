"""Where a planner looks for actions: the mean and standard deviation it starts from, the bounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_between, check_shape, checked

if TYPE_CHECKING:
    from egowm.actions import ActionSpec

Numbers = Tensor | np.ndarray | Sequence[float] | float  # one for all, or one each
MOST_ACTIONS = 1_000_000  # of a plan: more is a mistake that fills the memory


@checked
@dataclass(frozen=True, eq=False, init=False)
class Space:
    """The sequences of actions (T, A) among which a planner searches, in the actions' own units.

    Args:
        mean: Where the search begins, (T, A); T is the horizon. Floating point, within the bounds.
        std: Standard deviation of the first samples, 0 or more; 0 keeps a value at its mean.
        low: The least allowed value; no bound by default.
        high: The largest allowed value; no bound by default.

    std, low and high broadcast to (T, A): a number, one per dimension (A,), or one per step and
    dimension. All four are stored as (T, A), in the mean's type and on its device. Raises
    ValueError for shapes and numbers in which nothing can be searched.

    >>> import torch
    >>> space = Space(torch.zeros(8, 2), std=0.1, low=torch.tensor([0.0, -0.5]))
    >>> space.low.shape, space.low[0].tolist(), space.high[0].tolist()
    (torch.Size([8, 2]), [0.0, -0.5], [inf, inf])
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        mean: Tensor,
        std: Numbers,
        low: Numbers = -torch.inf,
        high: Numbers = torch.inf,
    ) -> None:
        if mean.ndim != 2 or not mean.numel() or not mean.is_floating_point():
            raise ValueError(
                f"Expected a floating point mean (T, A), got {tuple(mean.shape)} of {mean.dtype}."
            )
        object.__setattr__(self, "mean", mean.detach())
        for name, value in (("std", std), ("low", low), ("high", high)):
            object.__setattr__(self, name, _broadcast(name, value, mean))
        self._check()

    @classmethod
    def of(cls, spec: "ActionSpec", horizon: int = 8, margin: float = 1.0) -> "Space":
        """The range that the actions had in training; a world model has learned nothing beyond it.

        The search begins in the middle of the range, with a quarter of its width as standard
        deviation.

        Args:
            spec: What the actions mean, with a range.
            horizon: Actions to plan, T.
            margin: How many times as wide as in training the range is, around its centre.

        Raises ValueError for a spec without a range.

        >>> from egowm.actions import ActionSpec
        >>> meaning = {"frame": "command", "kind": "command", "rate_hz": 5.0}
        >>> spec = ActionSpec(("speed",), ("m/s",), **meaning, low=(0.0,), high=(2.0,))
        >>> space = Space.of(spec, horizon=3)
        >>> [getattr(space, name).flatten().tolist() for name in ("mean", "std", "low", "high")]
        [[1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]
        """
        if horizon < 1 or not 0 < margin < torch.inf:
            raise ValueError(
                f"Expected a horizon of at least 1 and a margin above 0, got {horizon} and "
                f"{margin:g}."
            )
        check_between("horizon", horizon, 1, MOST_ACTIONS)
        if not spec.low:
            raise ValueError(
                "Expected an ActionSpec with a range, got one without: fit it on data "
                "(`ActionSpec.fitted`)."
            )
        low, high = torch.tensor(spec.low), torch.tensor(spec.high)
        centre, half = (low + high) / 2, margin * (high - low) / 2
        return cls(centre.expand(horizon, -1), half / 2, centre - half, centre + half)

    def bounded(self, actions: Tensor) -> Tensor:
        """The actions with each value moved to the nearest allowed one.

        Args:
            actions: (..., T, A) in the space's units, tensor or array.

        >>> import torch
        >>> Space(torch.zeros(1, 2), 1.0, low=-1.0, high=0.5).bounded(torch.tensor([[-3.0, 3.0]]))
        tensor([[-1.0000,  0.5000]])
        """
        check_shape("actions", actions, "... T A", T=len(self.mean), A=self.mean.shape[1])
        return torch.minimum(torch.maximum(actions, self.low), self.high)

    def _check(self) -> None:
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


def _broadcast(name: str, value: Numbers, mean: Tensor) -> Tensor:
    given = torch.as_tensor(value).to(mean)
    try:
        return given.detach().expand_as(mean)
    except RuntimeError:
        raise ValueError(
            f"Expected {name} to broadcast to (T, A) = {tuple(mean.shape)}, got "
            f"{tuple(given.shape)}."
        ) from None
