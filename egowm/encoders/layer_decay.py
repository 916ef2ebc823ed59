"""Learning rates that fall from the last layer of a transformer to its first."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn


def layer_groups(
    weights: Iterable[tuple[str, nn.Parameter]], layers: int, decay: float
) -> list[dict[str, Any]]:
    """Groups of trained weights for an optimizer, each with the factor of its learning rate,
    "scale", and whether its weights decay, "decays": biases, norms and scales of layers do not.

    Args:
        weights: Of a model with a student of `transformers.Dinov2Model`, with their names.
        layers: The student's layers.
        decay: Factor of the learning rate from one layer to the one before, in (0, 1]; it is 1
            above the last layer.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, weight in weights:
        if weight.requires_grad:
            kind = decay ** _below(name, layers), weight.ndim > 1
            groups.setdefault(kind, []).append(weight)
    return [{"params": held, "scale": s, "decays": d} for (s, d), held in groups.items()]


def _below(name: str, layers: int) -> int:
    """How many steps a weight lies below the heads."""
    layer = re.match(r"student\.encoder\.layer\.(\d+)\.", name)
    if layer is not None:
        return layers - int(layer[1])
    return layers + 1 if name.startswith("student.embeddings.") else 0
