"""PSNR and SSIM: closeness of pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from egowm.evaluation.metrics.metric import ClipMetric, Column, Sample
from egowm.pixels import PSNR_LIMIT, psnr


class PSNR(ClipMetric):
    """Peak signal-to-noise ratio in dB of each frame."""

    columns: ClassVar = (
        Column(
            "psnr",
            "PSNR",
            "Peak signal-to-noise ratio in dB of each frame, averaged over frames, then clips; "
            f"identical frames count as {PSNR_LIMIT:.0f}",
            2,
            True,
        ),
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        pairs = zip(sample.pred, sample.truth, strict=True)
        return {"psnr": np.array([psnr(a[None], b[None]) for a, b in pairs])}


class SSIM(ClipMetric):
    """Structural similarity of each frame (Wang et al. 2004: Gaussian window of 11, sigma 1.5)."""

    columns: ClassVar = (
        Column(
            "ssim",
            "SSIM",
            "Structural similarity of each frame, up to 1: brightness, contrast and pattern in a "
            "Gaussian window of 11 pixels",
            3,
            True,
        ),
    )

    least_side: ClassVar = 11  # the window

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        self.device = device

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        from torchmetrics.functional.image import structural_similarity_index_measure

        pred, truth = (_planes(frames).to(self.device) for frames in (sample.pred, sample.truth))
        _, found = structural_similarity_index_measure(
            pred, truth, data_range=255.0, reduction="none", return_full_image=True
        )
        edge = self.least_side // 2  # windows that lie inside, as in the paper and scikit-image
        inside = found[:, :, edge:-edge, edge:-edge]
        return {"ssim": inside.mean((1, 2, 3)).double().cpu().numpy()}


def _planes(frames: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) uint8 as floats (T, 3, H, W) from 0 to 255."""
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32))
