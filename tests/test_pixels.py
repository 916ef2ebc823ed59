"""One PSNR, whatever the frames are made of."""

import numpy as np
import pytest
import torch

from egowm.pixels import psnr

APART = 20 * np.log10([255 / 5, 255 / 51])  # dB of two frames that differ by 5 and by 51


def frames(kind: str) -> tuple[np.ndarray | torch.Tensor, np.ndarray | torch.Tensor, float]:
    """A prediction, its truth and the range of their values."""
    truth = np.full((2, 4, 4, 3), 100, np.uint8)
    pred = truth + np.array([5, 51], np.uint8)[:, None, None, None]
    if kind == "numpy":
        return pred, truth, 255.0
    made, wanted = (torch.from_numpy(values).float() / 255 for values in (pred, truth))
    if kind == "bfloat16":
        return (made - wanted).bfloat16(), torch.zeros_like(wanted), 1.0
    return made, wanted, 1.0


@pytest.mark.parametrize(("kind", "within"), [("numpy", 1e-9), ("torch", 1e-5), ("bfloat16", 0.05)])
def test_psnr_in_closed_form(kind: str, within: float) -> None:
    pred, truth, peak = frames(kind)
    assert psnr(pred, truth, peak) == pytest.approx(APART.mean(), abs=within)
    both = psnr(pred.reshape(1, -1), truth.reshape(1, -1), peak)  # one item: one error of all
    assert both == pytest.approx(10 * np.log10(255**2 / ((5**2 + 51**2) / 2)), abs=within)


@pytest.mark.parametrize("limit", [60.0, 100.0])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_an_identical_frame_counts_as_the_limit(kind: str, limit: float) -> None:
    pred, truth, peak = frames(kind)
    assert psnr(truth, truth, peak, limit) == pytest.approx(limit, abs=1e-12)
    pred[0] = truth[0]
    assert psnr(pred, truth, peak, limit) == pytest.approx((limit + APART[1]) / 2, abs=1e-5)


def test_psnr_of_pictures_is_the_one_in_records() -> None:
    """To the bit: squares of whole numbers add up exactly in any order."""
    pred, truth = np.random.default_rng(0).integers(0, 256, (2, 5, 16, 16, 3), np.uint8)
    error = np.square(pred.astype(np.float64) - truth).mean(axis=(1, 2, 3))
    assert psnr(pred, truth) == float((10 * np.log10(255.0**2 / error)).mean())
