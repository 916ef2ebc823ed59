"""Frames and masks at the size SAM 2 works at, and its logits as masks at the frames' size."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZE = "bilinear, antialiased, rounded to 8 bits"


def to_pixels(frames: np.ndarray, side: int, device: torch.device) -> Tensor:
    """`frames (N, H, W, 3)` uint8 RGB as (N, 3, side, side) float32, normalised.

    The same as torchvision's resize of an 8-bit picture, which transformers' processor uses.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float()
    pixels = _resize(pixels, (side, side)).round().clamp(0, 255) / 255
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (_MEAN, _STD))
    return (pixels - mean) / std


def to_prompts(masks: np.ndarray, side: int, device: torch.device) -> Tensor:
    """`masks (O, H, W)` bool as (O, 1, side, side) float32 of 0 and 1.

    Raises ValueError where an object is so small that nothing of it is left.
    """
    prompts = torch.from_numpy(np.ascontiguousarray(masks)).to(device)[:, None].float()
    prompts = (_resize(prompts, (side, side)) >= 0.5).float()
    gone = [k + 1 for k, found in enumerate(prompts.flatten(1).any(1).tolist()) if not found]
    if gone:
        raise ValueError(
            f"Expected objects that SAM 2 can see at {side}x{side}, but the masks of {gone} "
            f"(counted from 1) vanish there. Remove them from the annotation."
        )
    return prompts


def to_masks(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """`logits (N, h, w)` as masks (N, H, W) bool."""
    logits = F.interpolate(logits[:, None].float(), size, mode="bilinear", align_corners=False)
    return (logits[:, 0] > 0).cpu().numpy()


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
