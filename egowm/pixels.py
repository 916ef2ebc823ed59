"""Pixels: uint8 on disk and in clips, [-1, 1] for networks, [0, 1] for users."""

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_alike, check_between, check_shape, checked, shown

PSNR_LIMIT = 60.0  # dB: identical frames count as this, about the error of rounding to 8 bits


@checked
def psnr(
    pred: np.ndarray | Tensor,
    target: np.ndarray | Tensor,
    peak: float = 255.0,
    limit: float = PSNR_LIMIT,
) -> float:
    """Peak signal-to-noise ratio in dB of each item of the first axis, and the mean of these.

    Args:
        pred: (N, ...), for instance the frames of a video; the clips of a batch are N items too.
        target: as `pred`.
        peak: the range of the values: 255 for uint8, 1 for frames in [0, 1].
        limit: what counts for closer items, so that no identical one makes the mean infinite.

    >>> psnr(np.full((2, 8, 8, 3), 105, np.uint8), np.full((2, 8, 8, 3), 100, np.uint8))
    34.15140352195873
    """
    check_alike("pred", pred, "target", target)
    if not pred.ndim or 0 in pred.shape:
        raise ValueError(f"Expected items (N, ...) of some values, got {shown(pred)}.")
    check_between("peak", peak, 1e-6, 1e9)
    check_between("limit", limit, 0.0, 300.0)
    made, wanted = (_float64(values).reshape(len(values), -1) for values in (pred, target))
    error = np.square(made - wanted).mean(axis=1)
    floor = peak**2 / 10 ** (limit / 10)
    return float((10 * np.log10(peak**2 / np.maximum(error, floor))).mean())


def _float64(values: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(values, Tensor):
        return values.detach().cpu().double().numpy()
    return values.astype(np.float64)


def check_unit(name: str, frames: Tensor) -> None:
    """Refuse float frames beyond [0, 1], and NaN; uint8 holds nothing else."""
    if frames.dtype == torch.uint8:
        return
    if not frames.is_floating_point() or not (frames.min() >= 0 and frames.max() <= 1):
        raise ValueError(f"Expected a float {name} in [0, 1] (or uint8 frames).")


@checked
def to_model(frames: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1], any shape."""
    return frames.float() / 127.5 - 1


@checked
def to_unit(frames: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1], any shape."""
    return frames.float() / 255


@checked
def picture(frame: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    check_shape("frame", frame, "H W 3")
    return to_unit(torch.from_numpy(frame.transpose(2, 0, 1).copy()))


@checked
def from_model(frames: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8, any shape; values beyond are clipped."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@checked
def to_uint8(frames: Tensor) -> np.ndarray:
    """(T, 3, H, W) in [0, 1] to (T, H, W, 3) uint8; values beyond are clipped."""
    check_shape("frames", frames, "T 3 H W")
    array = frames.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
