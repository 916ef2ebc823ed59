"""Masks of points and boxes in one picture: what `egowm-scs annotate` asks of SAM 2."""

import numpy as np
import torch

from egowm.scs.prompts import Prompt
from egowm.scs.trackers.sam2.network import Network
from egowm.scs.trackers.sam2.preprocess import to_masks, to_pixels

_CORNERS = (2, 3)  # labels of the two corners of a box


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
