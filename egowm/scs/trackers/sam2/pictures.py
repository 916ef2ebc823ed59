"""Frames and masks at the size SAM 2 works at and back, and the masks of points and boxes."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from egowm.scs.annotation.prompts import Prompt
from egowm.scs.trackers.sam2.network import Network

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZE = "bilinear, antialiased, rounded to 8 bits"
_CORNERS = (2, 3)  # labels of the two corners of a box


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


@torch.inference_mode()
def segment(
    network: Network, frame: np.ndarray, prompts: list[Prompt], batch: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (P, H, W) bool of `prompts` in `frame (H, W, 3)` uint8, and their expected IoU (P,).

    The picture is encoded once; prompts with equally many points are computed together, `batch` at
    most.
    """
    height, width = frame.shape[:2]
    device = network.device
    features = network.encode(to_pixels(frame[None], network.side, device))
    scale = np.array([network.side / width, network.side / height])
    marks = [_marks(prompt) for prompt in prompts]
    masks = np.zeros((len(prompts), height, width), bool)
    quality = np.zeros(len(prompts), np.float32)
    for count in sorted({len(labels) for _, labels in marks}):
        alike = [k for k, (_, labels) in enumerate(marks) if len(labels) == count]
        for start in range(0, len(alike), batch):
            some = alike[start : start + batch]
            points = np.stack([marks[k][0] for k in some]) * scale
            labels = np.stack([marks[k][1] for k in some])
            shared = features.take(torch.zeros(len(some), dtype=torch.long, device=device))
            found = network.find(
                shared,
                torch.from_numpy(points).to(device, network.dtype),
                torch.from_numpy(labels).to(device, torch.int32),
            )
            masks[some] = to_masks(found.logits, (height, width))
            quality[some] = found.quality.float().cpu().numpy()
    return masks, quality


def _marks(prompt: Prompt) -> tuple[np.ndarray, np.ndarray]:
    """Points (K, 2) and labels (K,); a box is its two corners, before the points."""
    if prompt.box is None:
        return prompt.points, prompt.point_labels
    corners = prompt.box.reshape(2, 2)
    labels = np.concatenate([_CORNERS, prompt.point_labels])
    return np.concatenate([corners, prompt.points]), labels


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
