"""I-JEPA's masks: blocks of patches that are predicted, and the context that is left of another."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

TARGETS, TARGET_SHARE, TARGET_ASPECT = 4, (0.15, 0.2), (0.75, 1.5)
CONTEXT_SHARE, LEAST = (0.85, 1.0), 10
ATTEMPTS = 1000


class Masks(NamedTuple):
    """Numbers of patches, row by row, for each of M pictures.

    context: (M, Nc), what the encoder sees; pictures with fewer patches than others are filled up
    by patches that `seen` (M, Nc) marks as False. targets: (M, 4, Nt), four blocks, which may
    overlap each other and never the context.
    """

    context: Tensor
    seen: Tensor
    targets: Tensor


def multi_block(
    side: int, count: int, generator: torch.Generator | None = None, least: int = LEAST
) -> Masks:
    """Four target blocks and a context block of each picture (I-JEPA, arXiv 2301.08243, section 3).

    A target block has 0.15 to 0.2 of the patches, its height over its width is 0.75 to 1.5; a
    context block has 0.85 to 1 of them and is square. Sizes are drawn once for all pictures, places
    for each. What the targets cover is taken out of the context.

    Args:
        side: Patches along a side.
        count: Pictures M.
        generator: On the CPU; None takes torch's own.
        least: Patches that are left of each context; its targets are drawn again until they are.

    Raises:
        ValueError: A grid too small for such a context.

    >>> masks = multi_block(8, 2, torch.Generator().manual_seed(0))
    >>> masks.targets.shape[:2], bool((masks.seen.sum(1) >= 10).all())
    (torch.Size([2, 4]), True)
    """
    target = _size(side, TARGET_SHARE, TARGET_ASPECT, generator)
    context = _size(side, CONTEXT_SHARE, (1.0, 1.0), generator)
    targets, left = _drawn(side, target, context, count, generator)
    for _ in range(ATTEMPTS):
        few = left.sum(1) < least
        if not few.any():
            break
        targets[few], left[few] = _drawn(side, target, context, int(few.sum()), generator)
    else:
        raise ValueError(
            f"Expected at least {least} of {side**2} patches beside the targets, found fewer: make "
            f"the frames larger or the patches smaller."
        )
    seen = left.sum(1)
    order = left.int().argsort(dim=1, descending=True, stable=True)[:, : int(seen.max())]
    return Masks(order, torch.arange(order.shape[1]) < seen[:, None], targets)


Size = tuple[int, int]  # height and width in patches


def _size(
    side: int,
    share: tuple[float, float],
    aspect: tuple[float, float],
    generator: torch.Generator | None,
) -> Size:
    """Height and width of a block in patches."""
    one, other = torch.rand(2, generator=generator).tolist()
    area = side**2 * (share[0] + (share[1] - share[0]) * one)
    ratio = aspect[0] + (aspect[1] - aspect[0]) * other
    height, width = math.sqrt(area * ratio), math.sqrt(area / ratio)
    return min(side, max(1, round(height))), min(side, max(1, round(width)))


def _drawn(
    side: int, target: Size, context: Size, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Targets (count, 4, Nt), and which patches (count, side * side) are left of the context."""
    targets = _blocks(side, target, count * TARGETS, generator).unflatten(0, (count, TARGETS))
    left = torch.zeros(count, side**2, dtype=torch.bool)
    left.scatter_(1, _blocks(side, context, count, generator), True)
    return targets, left.scatter_(1, targets.flatten(1), False)


def _blocks(side: int, size: Size, count: int, generator: torch.Generator | None) -> Tensor:
    """Numbers of the patches (count, height * width) of blocks at random places."""
    height, width = size
    top = torch.randint(side - height + 1, (count, 1, 1), generator=generator)
    left = torch.randint(side - width + 1, (count, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return ((top + rows) * side + left + columns).flatten(1)
