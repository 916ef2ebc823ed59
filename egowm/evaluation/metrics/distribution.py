"""FID and FVD: distances between all imagined and all true frames or videos, without pairs."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from egowm.checks import check_alike
from egowm.evaluation.metrics.metric import Column, Metric, Sample, Values, check_frames
from egowm.evaluation.metrics.weights import described, file_of, library, tensors

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
I3D = "i3d_pretrained_400.pt"
FEWEST = 10  # frames of a video that I3D takes
BATCH = 32  # frames at once


class _OfAllClips(Metric):
    """Keeps the frames until all are there."""

    def __init__(self) -> None:
        self._pred: list[np.ndarray] = []
        self._truth: list[np.ndarray] = []

    def add(self, sample: Sample) -> None:
        check_frames("pred", sample.pred)
        check_frames("truth", sample.truth)
        check_alike("pred", sample.pred, "truth", sample.truth)
        self._pred.append(sample.pred)
        self._truth.append(sample.truth)

    def compute(self, reads: Mapping[int, str], cumulative: bool) -> dict[str, Values]:
        pred, truth = np.stack(self._pred), np.stack(self._truth)  # (N, T, H, W, 3)
        self._pred, self._truth = [], []
        found = np.full((1, pred.shape[1]), np.nan)
        wanted = sorted({*reads, pred.shape[1]} if cumulative else reads)
        for k, value in zip(wanted, self.distances(pred, truth, wanted, cumulative), strict=True):
            found[0, k - 1] = value
        return {self.columns[0].key: Values(found, found, is_per_clip=False)}

    @abstractmethod
    def distances(
        self, pred: np.ndarray, truth: np.ndarray, wanted: list[int], cumulative: bool
    ) -> list[float]:
        """One for each of the frames `wanted`: of frames 1 to k, or of frame k alone."""


class FID(_OfAllClips):
    """Fréchet distance of Inception features of frames (Heusel et al. 2017), by torchmetrics."""

    columns: ClassVar = (
        Column(
            "fid",
            "FID",
            "Fréchet distance of Inception features between all imagined and all true frames, 0 "
            "for equal ones; biased upwards below 2,048 frames. Not comparable with torcheval's, "
            "which NWM reports",
            1,
            False,
        ),
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        library("torch_fidelity", "torch-fidelity")
        self.path = file_of(weights, INCEPTION)
        tensors(self.path)  # the package loads it without this check
        from torchmetrics.image.fid import FrechetInceptionDistance

        self.metric = FrechetInceptionDistance(feature_extractor_weights_path=str(self.path))
        self.metric.to(device)

    @property
    def settings(self) -> dict[str, Any]:
        return described(self.path)

    def distances(
        self, pred: np.ndarray, truth: np.ndarray, wanted: list[int], cumulative: bool
    ) -> list[float]:
        found, start = [], 0
        self.metric.reset()
        for k in wanted:
            if not cumulative:
                self.metric.reset()
                start = k - 1
            for videos, real in ((pred, False), (truth, True)):
                self._take(videos[:, start:k], real)
            enough = len(pred) * (k if cumulative else 1) >= 2
            found.append(float(self.metric.compute()) if enough else np.nan)
            start = k
        self.metric.reset()
        return found

    def _take(self, videos: np.ndarray, real: bool) -> None:
        frames = torch.from_numpy(
            videos.reshape(-1, *videos.shape[2:]).transpose(0, 3, 1, 2).copy()
        )
        for part in frames.split(BATCH):
            self.metric.update(part.to(self.metric.device), real=real)


class FVD(_OfAllClips):
    """Fréchet distance of I3D features of videos (Unterthiner et al. 2018), by cd-fvd."""

    columns: ClassVar = (
        Column(
            "fvd",
            "FVD",
            f"Fréchet distance of I3D features between imagined and true videos, 0 for equal ones; "
            f"of frames 1 to k, at least {FEWEST}; biased for few clips, so state their number",
            1,
            False,
        ),
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        package = library("cdfvd.fvd", "cd-fvd")
        self.path = file_of(weights, I3D)
        tensors(self.path)
        with redirect_stdout(StringIO()):  # which model it loads
            self.metric = package.cdfvd(
                "i3d", ckpt_path=str(self.path), n_real="full", n_fake="full", device=device
            )

    @property
    def settings(self) -> dict[str, Any]:
        return described(self.path)

    def distances(
        self, pred: np.ndarray, truth: np.ndarray, wanted: list[int], cumulative: bool
    ) -> list[float]:
        """Always of frames 1 to k: one frame is no video."""
        found = []
        for k in wanted:
            value = np.nan
            if k >= FEWEST and len(pred) >= 2:
                value = float(self.metric.compute_fvd(truth[:, :k], pred[:, :k]))
                self.metric.empty_real_stats()
                self.metric.empty_fake_stats()
            found.append(value)
        return found
