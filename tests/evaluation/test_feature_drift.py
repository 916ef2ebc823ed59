"""Feature drift: by hand on a network of one layer, closed forms, what settings and errors say."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from egowm import Encoder
from egowm.encoder import patch_distance
from egowm.encoders import MooG
from egowm.evaluation.metrics.catalogue import load_metrics
from egowm.evaluation.metrics.metric import Sample, Values
from egowm.evaluation.metrics.perceptual import FeatureDrift
from tests.encoders.conftest import ijepa


class Colours(torch.nn.Module):
    """A transformer of no layers, whose features of a patch are its mean colour."""

    config = SimpleNamespace(patch_size=4, image_size=8, hidden_size=3)

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        means = torch.nn.functional.avg_pool2d(pixel_values, 4)
        return SimpleNamespace(last_hidden_state=means.flatten(2).mT)


RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def frame(*colours: tuple[int, int, int]) -> np.ndarray:
    """(8, 8, 3), four patches of these colours."""
    return np.array(colours, np.uint8).reshape(2, 2, 3).repeat(4, 0).repeat(4, 1)


def drift(encoder: Encoder, pred: np.ndarray, truth: np.ndarray) -> Values:
    metric = FeatureDrift.__new__(FeatureDrift)
    super(FeatureDrift, metric).__init__()
    metric.encoder, metric.device = encoder, "cpu"
    none = np.zeros((len(pred), 1), np.float32)
    metric.add(Sample("a", truth[0], pred, truth, none, none, None))  # type: ignore[arg-type]
    return metric.compute({2: "2"}, True)["feature_drift"]


def test_by_hand_on_colours():
    """Of red and green patches the cosine is 0, of red and white 1 / sqrt(3)."""
    encoder = Encoder(Colours(), mean=(0, 0, 0), std=(1, 1, 1))
    truth = np.stack([frame(RED, RED, RED, RED)] * 3)
    pred = np.stack([truth[0], frame(RED, GREEN, RED, GREEN), frame(RED, RED, RED, WHITE)])
    found = drift(encoder, pred, truth)
    last = (1 - 3**-0.5) / 4
    np.testing.assert_allclose(found.frames, [[0, 0.5, last]], atol=1e-6)
    np.testing.assert_allclose(found.at(3, True), [(0.5 + last) / 3], atol=1e-6)
    assert found.is_per_clip


def test_equal_frames_do_not_drift_and_batches_do_not_count():
    """40 frames, more than are encoded at once; as the encoder's own features say it."""
    encoder = ijepa().encoder()
    draw = np.random.default_rng(0)
    pred, truth = (draw.integers(0, 256, (40, 16, 16, 3), np.uint8) for _ in range(2))
    pred[::2] = truth[::2]
    found = drift(encoder, pred, truth).frames[0]
    assert np.all((found[::2] >= 0) & (found[::2] < 1e-6))
    made, wanted = (
        encoder.encode(torch.from_numpy(x).movedim(-1, 1).float() / 255).patches
        for x in (pred, truth)
    )
    cosines = (made * wanted).sum(-1) / made.norm(dim=-1) / wanted.norm(dim=-1)
    np.testing.assert_allclose(found, 1 - cosines.mean((1, 2)), atol=1e-5)
    assert found[1::2].min() > 1e-3  # equality of zeros would say nothing
    np.testing.assert_allclose(patch_distance(made, -made), 2, atol=1e-5)


def test_settings_are_of_the_files_that_are_read(tmp_path: Path):
    """So that tables of two encoders are not compared."""
    ijepa().save_pretrained(tmp_path / "ijepa")
    found = load_metrics(None, encoder=tmp_path / "ijepa")
    [metric] = [each for each in found.ready if isinstance(each, FeatureDrift)]
    names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert list(metric.settings) == names


def test_without_an_encoder_it_is_missing_with_a_reason():
    said = {column.key: text for column, text in load_metrics(None).missing.items()}
    expected = "needs an image encoder: give its folder by --encoder (docs/evaluation.md)"
    assert said["feature_drift"] == expected


def test_a_folder_that_is_no_encoder_is_refused_by_name(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"^Expected none/config\.json, found none"):
        load_metrics(None, encoder=Path("none"))
    MooG(size=16, num_tokens=4, width=8).save_pretrained(tmp_path / "moog")  # has no patches
    with pytest.raises(ValueError, match=str(tmp_path / "moog")) as caught:
        load_metrics(None, encoder=tmp_path / "moog")
    assert "\n" not in str(caught.value)
