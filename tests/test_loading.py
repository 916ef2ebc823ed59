"""Indexes of sharded weights, as a stranger may have written them."""

import json

import pytest

from egowm.hub import hub_folder
from egowm.limits import TEXT, TooLarge
from egowm.loading import load_model, read_json, variant_of


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"weight_map": {"a": "../../outside.safetensors"}}, "name of a file inside"),
        ({"weight_map": {"a": "/outside.safetensors"}}, "name of a file inside"),
        ({"weight_map": ["a"]}, "cannot be read"),
        ({"weight_map": {"a": 1, "b": "x"}}, "cannot be read"),
        ({}, "cannot be read"),
    ],
)
def test_an_index_is_refused_in_one_line(content, words, tmp_path):
    (tmp_path / "outside.safetensors").touch()
    folder = tmp_path / "base" / "unet"
    folder.mkdir(parents=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as caught:
        variant_of(folder, "model")
    assert len(str(caught.value).splitlines()) == 1


def test_shards_that_are_there_are_taken(tmp_path):
    (tmp_path / "a-1.safetensors").touch()
    index = {"weight_map": {"x": "a-1.safetensors", "y": "a-1.safetensors"}}
    (tmp_path / "model.safetensors.index.fp16.json").write_text(json.dumps(index))
    assert variant_of(tmp_path, "model") == ".fp16"


def test_settings_of_a_base_keep_the_limits_of_json(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"text": "' + "a" * 100 + '"}')
    assert len(read_json(tmp_path, "config.json")["text"]) == 100
    monkeypatch.setenv(TEXT, "100")
    with pytest.raises(TooLarge, match=f"config.json: claims 112 bytes.* {TEXT}=112 lets"):
        read_json(tmp_path, "config.json")


def test_a_failed_download_says_why(monkeypatch):
    def fail(*names, **options):
        raise OSError(28, "No space left on device", "blobs/a")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    assert hub_folder("a/b", ["x"], "0" * 40) is None
    with pytest.raises(ConnectionError, match=r"a/b was not downloaded .*No space left.*blobs/a"):
        hub_folder("a/b", ["x"], "0" * 40, download=True)


def test_a_base_with_weights_that_are_no_numbers_is_refused(tiny_prior, tmp_path):
    import shutil

    from diffusers import UNetSpatioTemporalConditionModel
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_prior / "unet", tmp_path / "unet")
    file = tmp_path / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.bias"][3] = float("nan")
    save_file(weights, file, {"format": "pt"})
    count = weights["conv_in.bias"].numel()
    words = rf"unet cannot be read \(.*of {count} values in conv_in.bias, .*: 1, .*copy it again"
    with pytest.raises(ValueError, match=words):
        load_model(UNetSpatioTemporalConditionModel, tmp_path / "unet")
