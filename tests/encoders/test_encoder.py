"""`Encoder`: features and folders are those of transformers."""

import json

import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModel,
    Dinov2Config,
    Dinov2Model,
    IJepaConfig,
    IJepaModel,
)

from egowm import Encoder
from egowm.planning.features import encoder as encoder_cost

SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def network(family: str, **options):
    torch.manual_seed(0)
    size = {"image_size": 24, "patch_size": 4} | options
    if family == "dinov2":
        made = Dinov2Model(Dinov2Config(**SHAPE, **size))
    else:
        made = IJepaModel(IJepaConfig(**SHAPE, **size, intermediate_size=32))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


@pytest.mark.parametrize("family", ["dinov2", "ijepa"])
def test_features_are_those_of_transformers(family, frames, tmp_path):
    """The cls token where there is one, else the mean of the patches, which are row by row."""
    plain = network(family)
    plain.save_pretrained(tmp_path)
    cls, patches = Encoder.from_pretrained(tmp_path).encode(frames)
    seen = (frames - MEAN[:, None, None]) / STD[:, None, None]
    with torch.no_grad():
        hidden = plain(seen).last_hidden_state
    own = hidden[:, 1:] if family == "dinov2" else hidden
    torch.testing.assert_close(patches.flatten(1, 2), own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(patches[:, 1, 2], own[:, 8], atol=1e-5, rtol=1e-5)
    wanted = hidden[:, 0] if family == "dinov2" else hidden.mean(1)
    torch.testing.assert_close(cls, wanted, atol=1e-5, rtol=1e-5)
    assert cls.std() > 0.1


def test_a_folder_opens_in_transformers_and_comes_back(frames, tmp_path):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    ours = Encoder(network("ijepa"), mean=mean, std=std)
    ours.save_pretrained(tmp_path / "e")
    theirs = AutoModel.from_pretrained(tmp_path / "e", local_files_only=True)
    assert type(theirs) is IJepaModel
    processor = AutoImageProcessor.from_pretrained(tmp_path / "e", local_files_only=True)
    seen = processor(images=frames, return_tensors="pt", do_rescale=False)["pixel_values"]
    torch.testing.assert_close(seen, ours.standardised(frames), atol=1e-6, rtol=0)
    with torch.no_grad():
        hidden = theirs(seen).last_hidden_state
    torch.testing.assert_close(hidden, ours.encode(frames).patches.flatten(1, 2))
    again = Encoder.from_pretrained(tmp_path / "e")
    assert (again.size, again.mean, again.std) == (24, mean, std)
    assert torch.equal(again.encode(frames).cls, ours.encode(frames).cls)
    ours.save_pretrained(tmp_path / "e", torch.float16)  # replaced
    half = Encoder.from_pretrained(tmp_path / "e")
    for name, weight in ours.network.state_dict().items():
        assert torch.equal(half.network.state_dict()[name], weight.half().float())
    (tmp_path / "e/mine.txt").touch()
    with pytest.raises(FileExistsError, match=r"holds mine\.txt, which `egowm export` did not"):
        ours.save_pretrained(tmp_path / "e")


@pytest.mark.parametrize(
    ("told", "size", "mean"),
    [
        ({"do_center_crop": True, "crop_size": {"height": 16, "width": 16}}, 16, 0.485),
        ({"size": {"shortest_edge": 32}, "crop_size": 16, "image_mean": [0.5] * 3}, 32, 0.5),
        ({"size": 20, "do_normalize": False, "image_mean": [0.5] * 3}, 20, 0.0),
        ({}, 24, 0.485),
        (None, 24, 0.485),
    ],
)
def test_a_folder_tells_how_frames_are_prepared(told, size, mean, tmp_path):
    network("ijepa").save_pretrained(tmp_path)
    if told is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    found = Encoder.from_pretrained(tmp_path)
    assert (found.size, found.mean[0]) == (size, mean)
    assert Encoder.from_pretrained(tmp_path, 8).size == 8


def test_it_stays_frozen_and_passes_a_gradient_to_the_frames(frames):
    found = Encoder(network("dinov2"))
    torch.nn.Sequential(found).train()
    assert not found.network.training
    frames.requires_grad_()
    found(frames).square().sum().backward()
    assert frames.grad.abs().sum() > 0
    assert all(p.grad is None for p in found.network.parameters())


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="multiple of 4, got 30"):
        Encoder(network("ijepa"), 30)
    with pytest.raises(ValueError, match="with square patches, got Linear"):
        Encoder(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="deviations above 0"):
        Encoder(network("ijepa"), std=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="all finite"):
        Encoder(network("ijepa"), mean=(0.5, float("inf"), 0.5))
    with pytest.raises(ValueError, match=r"Expected frames \(B, 3, H, W\), got"):
        Encoder(network("ijepa")).encode(torch.zeros(3, 24, 24))
    with pytest.raises(FileNotFoundError, match="the local hub cache does not hold"):
        Encoder.from_pretrained("facebook/dinov2-small")
    broken = network("ijepa")
    broken.layernorm.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"Nothing was written: .* in layernorm.weight"):
        Encoder(broken).save_pretrained(tmp_path / "e")
    assert not (tmp_path / "e").exists()
    network("ijepa").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": "grey"}')
    with pytest.raises(ValueError, match="image_mean: expected a list or null, got 'grey'"):
        Encoder.from_pretrained(tmp_path)


def test_the_cost_of_before_is_found_under_its_old_name():
    from egowm.planning import features

    with pytest.warns(FutureWarning, match=r"features\.dino is now features\.encoder"):
        assert features.dino is encoder_cost


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"size": {"height": 16, "width": 32}}, "expected frames that are square"),
        ({"do_rescale": False}, r"expected an encoder of pixels in \[0, 1\]"),
    ],
)
def test_a_preparation_that_is_another_is_refused(told, words, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=words):
        Encoder.from_pretrained(tmp_path)
