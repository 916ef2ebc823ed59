"""Straightness as a column: whether imagined frames change as steadily as real ones do."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from egowm.checks import check_alike
from egowm.evaluation.metrics.metric import Column, Metric, Sample, Values, check_frames
from egowm.latent.straightening import step_cosines
from egowm.scs.score import mean_defined

SQUARE = 8  # pixels a side, over which frames are averaged


class Straightness(Metric):
    """Straightness of all imagined frames less that of all true ones (`straightness_gap`).

    A frame's latent is its pixels averaged over squares of 8x8, the same for every model, in which
    paths in rooms are as straight as in learned latents (docs/latent-models.md). Both kinds of
    frames begin at the shared frame. No clip is compared with its own truth, so a rollout that is
    steady and wrong is no fault here.
    """

    columns: ClassVar = (
        Column(
            "straightness_gap",
            "straight",
            "Mean cosine of successive changes of the imagined frames, less that of the true ones, "
            "0 where both move alike: below 0 pictures flicker, above 0 they glide; empty where "
            "nothing moves, and at frame 1",
            2,
            False,
        ),
    )
    least_side: ClassVar = SQUARE

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        self._pred: list[np.ndarray] = []
        self._truth: list[np.ndarray] = []

    def add(self, sample: Sample) -> None:
        check_frames("pred", sample.pred)
        check_frames("truth", sample.truth)
        check_alike("pred", sample.pred, "truth", sample.truth)
        self._pred.append(_cosines(sample.context, sample.pred))
        self._truth.append(_cosines(sample.context, sample.truth))

    def compute(self, reads: Mapping[int, str], cumulative: bool) -> dict[str, Values]:
        both = np.stack(self._pred), np.stack(self._truth)  # (N, T)
        self._pred, self._truth = [], []
        pred, truth = (mean_defined(cosines, axis=0) for cosines in both)
        ends = range(1, both[0].shape[1] + 1)
        gaps = np.array(
            [np.subtract(*(mean_defined(x[:, :k].ravel()) for x in both)) for k in ends]
        )
        return {self.columns[0].key: Values((pred - truth)[None], gaps[None], is_per_clip=False)}


def _cosines(context: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(T,) of the change to each frame and the one before; NaN at the first, and without change."""
    shown = torch.from_numpy(np.concatenate([context[None], frames])).permute(0, 3, 1, 2)
    if len(frames) < 2:
        return np.full(len(frames), np.nan)
    cosines = step_cosines(avg_pool2d(shown.float(), SQUARE)[None])[0]
    return np.concatenate([[np.nan], cosines.double().numpy()])
