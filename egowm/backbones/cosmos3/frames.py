"""The frame that Cosmos 3 starts from, and the canvas that holds it without resizing.

diffusers would round its sides down to the VAE's stride and shrink it to the canvas of whatever
tier was named, saying nothing of either; here both are refused.
"""

from torch import Tensor, uint8


def last_frames(context: Tensor, count: int) -> Tensor:
    """(1 or N, 3, H, W) in [0, 1]."""
    if context.ndim != 5 or context.shape[2] != 3 or context.shape[0] not in (1, count):
        raise ValueError(
            f"Expected a context of shape (1 or {count}, K, 3, H, W), or one picture (H, W, 3) in "
            f"uint8, got {tuple(context.shape)}."
        )
    last = context[:, -1]
    if last.dtype == uint8:
        return last.float() / 255
    if last.min() < 0 or last.max() > 1:
        raise ValueError("Expected a float context in [0, 1] (or uint8 frames).")
    return last.float()


def resolution_tier(height: int, width: int, stride: int) -> int:
    """The smallest of diffusers' tiers whose canvas holds a frame of height x width as it is.

    stride: pixels per latent one, of which both sides must be multiples.
    """
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as stock

    if height % stride or width % stride:
        raise ValueError(
            f"Cosmos 3 takes frames whose sides are multiples of {stride}, got {height} x {width}: "
            f"crop or resize the context."
        )
    tiers, canvases = stock._ACTION_RESOLUTION_BINS, []
    for tier in sorted(tiers, key=int):
        size = stock.VideoProcessor.classify_height_width_bin(height, width, ratios=tiers[tier])
        if height <= size[0] and width <= size[1]:
            return int(tier)
        canvases.append(f"{tier}: {size[0]} x {size[1]}")
    raise ValueError(
        f"Cosmos 3's canvases for this shape are {', '.join(canvases)}; a frame of {height} x "
        f"{width} would be shrunk: resize the context."
    )
