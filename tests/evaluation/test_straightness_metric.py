"""Straightness of imagined frames less that of true ones: closed forms, parity, empty rows."""

import numpy as np
import pytest
import torch

from egowm.actions import ActionSpec
from egowm.evaluation.metrics.metric import Sample
from egowm.evaluation.metrics.straightness import Straightness
from egowm.latent import straightness_gap

SPEC = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
ROW = "straightness_gap"


def video(*levels: int) -> np.ndarray:
    """Frames (T, 16, 16, 3), grey, of these levels."""
    grey = np.array(levels, np.uint8)[:, None, None, None]
    return np.broadcast_to(grey, (len(levels), 16, 16, 3)).copy()


def sample(pred: np.ndarray, truth: np.ndarray, context: np.ndarray) -> Sample:
    told = np.zeros((len(pred), 1))
    return Sample("a_0", context, pred, truth, told, told, SPEC)


def measured(*samples: Sample, cumulative: bool = True):
    metric = Straightness()
    for one in samples:
        metric.add(one)
    return metric.compute({2: "2"}, cumulative)[ROW]


def test_to_and_fro_against_straight_ahead():
    """Cosines of -1 from frame 2 on, or one of them alone, where the truth has 1."""
    start, truth = video(10)[0], video(20, 30, 40, 50)
    fro = measured(sample(video(20, 10, 20, 10), truth, start))
    np.testing.assert_allclose(fro.upto, [[np.nan, -2, -2, -2]], atol=1e-6)
    late = measured(sample(video(20, 30, 40, 30), truth, start))
    np.testing.assert_allclose(late.frames, [[np.nan, 0, 0, -2]], atol=1e-6)
    np.testing.assert_allclose(late.upto, [[np.nan, 0, 0, -2 / 3]], atol=1e-6)
    assert not late.is_per_clip


def test_it_is_the_gap_of_the_latents_of_all_clips():
    """And does not ask which truth a clip has."""
    draw = np.random.default_rng(0)
    pred, truth = (draw.integers(0, 256, (2, 6, 16, 16, 3), np.uint8) for _ in range(2))
    start = draw.integers(0, 256, (2, 16, 16, 3), np.uint8)

    def pooled(frames: np.ndarray) -> torch.Tensor:
        shown = np.concatenate([start[:, None], frames], 1).reshape(2, 7, 2, 8, 2, 8, 3)
        return torch.from_numpy(shown.mean((3, 5)))

    found = measured(*(sample(*parts) for parts in zip(pred, truth, start, strict=True)))
    expected = straightness_gap(pooled(pred), pooled(truth))
    assert found.upto[0, -1] == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(0, abs=1e-3)


def test_nothing_moves_in_a_copy_and_in_a_mean_frame():
    start, truth = video(10)[0], video(20, 30, 40)
    for still in (video(10, 10, 10), video(80, 80, 80)):
        assert np.isnan(measured(sample(still, truth, start)).upto).all()
    one = measured(sample(video(20), video(20), start))
    assert one.frames.shape == (1, 1)
    assert np.isnan(one.frames).all()
