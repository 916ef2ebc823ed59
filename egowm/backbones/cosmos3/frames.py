"""The canvas that holds the frame that Cosmos 3 starts from without resizing it.

diffusers would round its sides down to the VAE's stride and shrink it to the canvas of whatever
tier was named, saying nothing of either; here both are refused.
"""


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
