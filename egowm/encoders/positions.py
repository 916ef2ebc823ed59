"""Fixed positions of patches: sines and cosines of their column and row."""

import torch
from torch import Tensor


def sine_cosine(width: int, side: int) -> Tensor:
    """Positions (side * side, width) of a square grid, row by row; the first half of the channels
    tells the column, the second the row (MAE, arXiv 2111.06377).

    Args:
        width: Channels, a multiple of 4.
        side: Patches along a side.

    >>> sine_cosine(4, 2)[:, 1].tolist()  # the cosine of column 0, 1, 0, 1
    [1.0, 0.5403022766113281, 1.0, 0.5403022766113281]
    """
    if width < 4 or width % 4:
        raise ValueError(f"Expected a width that is a multiple of 4, got {width}.")
    rates = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    parts = []
    for place in (columns, rows):
        angles = place.flatten()[:, None] * rates
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, 1).float()
