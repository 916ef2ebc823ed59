"""The metrics of a table, and why some of them cannot be computed here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egowm.checks import counted
from egowm.data.module import ClipData
from egowm.evaluation.metrics.attention import AttentionStructure
from egowm.evaluation.metrics.distribution import FID, FVD
from egowm.evaluation.metrics.following import following_of
from egowm.evaluation.metrics.metric import Column, Metric, Unavailable
from egowm.evaluation.metrics.perceptual import LPIPS, DreamSim, FeatureDrift
from egowm.evaluation.metrics.pixel import PSNR, SSIM
from egowm.evaluation.metrics.straightness import Straightness

KINDS: tuple[type[Any], ...] = (PSNR, SSIM, LPIPS, DreamSim, FID, FVD, Straightness)


@dataclass(frozen=True)
class Metrics:
    """The metrics of a table.

    Args:
        ready: Those that are computed.
        missing: Columns that stay empty, and what they lack.
    """

    ready: Sequence[Metric]
    missing: dict[Column, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[Column]:
        """Of the metrics that are computed."""
        return [column for metric in self.ready for column in metric.columns]

    def for_size(self, height: int, width: int) -> "Metrics":
        """Those that take frames of this size; the others are missing."""
        side = min(height, width)
        small = {
            column: f"needs frames of at least {counted(metric.least_side, 'pixel')} a side, "
            f"these have {side}"
            for metric in self.ready
            for column in metric.columns
            if side < metric.least_side
        }
        fitting = [metric for metric in self.ready if side >= metric.least_side]
        return Metrics(fitting, self.missing | small)


def pixel_metrics(device: str = "cpu") -> Metrics:
    """PSNR and SSIM alone, which need no weights."""
    return Metrics([PSNR(None, device), SSIM(None, device)])


def load_metrics(
    weights: Path | None,
    device: str = "cpu",
    data: ClipData | None = None,
    encoder: Path | None = None,
) -> Metrics:
    """All metrics whose package and weights are here; the others with the reason.

    Args:
        weights: The folder of weights.
        device: On which they are computed.
        data: Whose clips are measured, for metrics that know their world.
        encoder: The folder of an image encoder, for the feature drift and, of a SingleLife, the
            attention.

    Raises:
        FileNotFoundError: No folder of weights, or a file of the encoder that is missing.
        ValueError: A damaged file of weights, or an encoder of another kind.
    """
    if weights is not None and not weights.is_dir():
        raise FileNotFoundError(f"No folder of weights at {weights}: see docs/evaluation.md.")
    ready: list[Metric] = []
    missing: dict[Column, str] = {}
    sources: list[tuple[type[Any], Path | None]] = [(kind, weights) for kind in KINDS]
    sources += [(FeatureDrift, encoder), (AttentionStructure, encoder)]
    for kind, folder in sources:
        try:
            ready.append(kind(folder, device))
        except Unavailable as reason:
            missing |= dict.fromkeys(kind.columns, str(reason))
    return Metrics([*ready, *following_of(data)], missing)
