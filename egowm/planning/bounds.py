"""Bounds of a search from what actions mean."""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from egowm.actions import ActionSpec


class Bounds(NamedTuple):
    """The least and the largest value of each dimension, (A,) each, physical units."""

    low: Tensor
    high: Tensor


def bounds_of(spec: "ActionSpec", margin: float = 1.0) -> Bounds:
    """The range that the actions had in training, `margin` times as wide around its centre.

    A world model knows nothing beyond it. Raises ValueError for a spec without a range.
    """
    if not spec.low:
        raise ValueError(
            "Expected an ActionSpec with a range, got one without: fit it on data "
            "(`ActionSpec.fitted`)."
        )
    low, high = torch.tensor(spec.low), torch.tensor(spec.high)
    centre, half = (low + high) / 2, (high - low) / 2
    return Bounds(centre - margin * half, centre + margin * half)
