"""Structure by attention as a column: equal frames, other rooms, what settings and errors say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.encoders import SingleLife, structure_agreement
from egowm.evaluation.metrics.attention import AttentionStructure
from egowm.evaluation.metrics.catalogue import load_metrics
from egowm.evaluation.metrics.metric import Sample
from egowm.pixels import to_unit
from tests.encoders.conftest import ijepa

SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A SingleLife of 16 patches, with random weights of some size."""
    torch.manual_seed(0)
    model = SingleLife(size=SIZE, patch=4, width=16, layers=2, heads=2, decoder_width=8)
    model.configure_model()
    for name, weight in model.named_parameters():
        if "position" not in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.teach(0.0)
    made: Path = tmp_path_factory.mktemp("export") / "life"
    model.save_pretrained(made)
    return made


def drawn(seed: int, count: int = 12, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def sample(first: np.ndarray, pred: np.ndarray, truth: np.ndarray) -> Sample:
    none = np.zeros((len(pred), 1), np.float32)
    return Sample("a", first, pred, truth, none, none, None)  # type: ignore[arg-type]


def test_true_frames_score_1_and_those_of_elsewhere_chance(folder: Path):
    """A clip of noise is nowhere near another: 5 of 16 patches by chance."""
    metric, truth = AttentionStructure(folder), drawn(0, 40)
    for pred in (truth, drawn(1, 40)):
        metric.add(sample(drawn(2, 1)[0], pred, truth))
    found = metric.compute({40: "40"}, True)["attention_structure"]
    assert found.is_per_clip
    assert found.frames[0].tolist() == [1.0] * 40
    assert found.at(40, True)[1] == pytest.approx(5 / 16, abs=0.05)


def test_values_are_those_of_the_maps_of_each_clip(folder: Path):
    metric, model = AttentionStructure(folder), SingleLife.from_pretrained(folder)
    first, pred, truth = drawn(3, 1)[0], drawn(4, 36), drawn(5, 36)  # more than one batch
    pred[:20] = truth[:20]
    pred[20:, 8:] = truth[20:, 8:]
    metric.add(sample(first, pred, truth))
    found = metric.compute({36: "36"}, True)["attention_structure"].frames[0]

    def maps(frames: np.ndarray) -> torch.Tensor:
        targets = to_unit(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()))
        source = to_unit(torch.from_numpy(first.transpose(2, 0, 1).copy()))
        return model.attention(source.expand_as(targets), targets)

    expected = structure_agreement(maps(pred), maps(truth), 5).centred
    np.testing.assert_allclose(found, expected, atol=0.02)  # of patches that are nearly as high
    assert found[:20].tolist() == [1.0] * 20
    assert 0.2 < found[20:].mean() < 0.95


def test_frames_of_another_size_are_resized(folder: Path):
    metric, truth = AttentionStructure(folder), drawn(6, 8).repeat(2, 1).repeat(3, 2)
    metric.add(sample(truth[0], truth[::-1].copy(), truth))
    assert truth.shape == (8, 32, 48, 3)
    found = metric.compute({8: "8"}, True)["attention_structure"].frames
    assert found.shape == (1, 8)
    assert 0 < found.mean() < 0.9


def test_a_single_frame_has_no_value(folder: Path):
    metric = AttentionStructure(folder)
    metric.add(sample(drawn(0, 1)[0], drawn(1, 1), drawn(1, 1)))
    assert np.isnan(metric.compute({1: "1"}, True)["attention_structure"].frames).all()


def test_one_folder_gives_both_columns(folder: Path):
    found = load_metrics(None, encoder=folder)
    columns = [column.key for column in found.columns]
    assert columns[-2:] == ["feature_drift", "attention_structure"]
    [metric] = [each for each in found.ready if isinstance(each, AttentionStructure)]
    assert "decoder.safetensors" in metric.settings
    assert "model.safetensors" in metric.settings


def test_other_encoders_leave_it_empty_with_a_reason(tmp_path: Path):
    ijepa().save_pretrained(tmp_path / "ijepa")
    found = load_metrics(None, encoder=tmp_path / "ijepa")
    said = {column.key: text for column, text in found.missing.items()}
    assert said["attention_structure"] == (
        f"needs a SingleLife with its decoder, {tmp_path / 'ijepa'} has none (docs/evaluation.md)"
    )
    assert "feature_drift" in [column.key for column in found.columns]
    said = {column.key: text for column, text in load_metrics(None).missing.items()}
    assert said["attention_structure"] == (
        "needs a SingleLife: give its export by --encoder (docs/evaluation.md)"
    )


def test_a_damaged_decoder_is_refused_by_name(folder: Path, tmp_path: Path):
    model = SingleLife.from_pretrained(folder)
    model.save_pretrained(tmp_path / "life")
    (tmp_path / "life/decoder.safetensors").write_bytes(b"none" * 20)
    with pytest.raises(ValueError, match=r"life/decoder\.safetensors cannot be read"):
        load_metrics(None, encoder=tmp_path / "life")
    (tmp_path / "life/decoder.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"life/decoder\.json, found none"):
        load_metrics(None, encoder=tmp_path / "life")
