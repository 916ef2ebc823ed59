"""Pixels: uint8 on disk and in clips, [-1, 1] for networks, [0, 1] for users."""

import numpy as np
import torch
from torch import Tensor


def to_model(frames: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1], any shape."""
    return frames.float() / 127.5 - 1


def to_unit(frames: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1], any shape."""
    return frames.float() / 255


def from_model(frames: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8, any shape; values beyond are clipped."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_uint8(frames: Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] to (T, H, W, 3) uint8; values beyond are clipped."""
    array = frames.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
