"""Wrong actions, whose imagined frames must differ from those of the true ones."""

import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import check_alike, checked

KINDS = ("true", "shuffled", "zero", "mirrored")


@checked
def changed(actions: Tensor, shuffled: Tensor, kind: str, meaning: ActionSpec) -> Tensor:
    """Actions (B, T, A) as a row wants them."""
    check_alike("shuffled", shuffled, "actions", actions)
    if kind == "true":
        return actions
    if kind == "shuffled":
        return shuffled
    if kind == "zero":
        return torch.zeros_like(actions)
    if kind == "mirrored":
        return actions * _mirror(meaning).to(actions)
    raise ValueError(f"Expected actions {', '.join(KINDS)}, got {kind!r}.")


def can_mirror(meaning: ActionSpec) -> bool:
    """Whether it is known which dimensions turn a path into its mirror image."""
    return meaning.kind == "se2" or meaning.names == ("angle", "throttle")


def _mirror(meaning: ActionSpec) -> Tensor:
    """Signs (A,) of the actions that drive a mirror image of the path."""
    if not can_mirror(meaning):
        raise ValueError(
            f"Mirrored actions are known for wheeled robots; these are {', '.join(meaning.names)}: "
            f"leave out the mirrored row."
        )
    return torch.tensor([1.0, -1.0, -1.0] if meaning.kind == "se2" else [-1.0, 1.0])
