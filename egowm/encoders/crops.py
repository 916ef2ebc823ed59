"""Random crops of pictures, enlarged to one size, each picture's own."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

ASPECT = (3 / 4, 4 / 3)  # width over height


def random_crops(
    frames: Tensor,
    size: int,
    share: tuple[float, float],
    generator: torch.Generator | None = None,
) -> Tensor:
    """A crop of each frame, (M, 3, size, size), bilinear.

    Args:
        frames: (M, 3, H, W).
        size: H and W of the crops.
        share: Least and largest share of the frame's area; the area is drawn evenly between them.
            Its width over its height is drawn from 3/4 to 4/3, evenly in the logarithm.
        generator: On the CPU; None takes torch's own.
    """
    count, (least, most) = len(frames), share
    area, aspect, x, y = torch.rand(4, count, generator=generator)
    area = least + (most - least) * area
    low, high = map(math.log, ASPECT)
    ratio = (low + (high - low) * aspect).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    left, top = (2 * x - 1) * (1 - width), (2 * y - 1) * (1 - height)  # centres in [-1, 1]
    none = torch.zeros(count)
    rows = torch.stack([width, none, left, none, height, top], 1).view(count, 2, 3)
    grid = F.affine_grid(rows.to(frames), [count, 3, size, size], align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
