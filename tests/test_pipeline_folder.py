"""World models as pipelines of diffusers: the stock pipeline opens them, and so does egowm."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from egowm.backbones import SVD
from egowm.sampling import Sampling
from egowm.world_model import WorldModel
from tests.test_export import assert_equal, imagine
from tests.test_hub import hub  # noqa: F401 - a fixture

SIDE, FRAMES, STEPS = 16, 4, 3


@pytest.fixture
def folder(fitted, tmp_path) -> Path:
    fitted.save_pipeline(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def picture() -> Image.Image:
    numbers = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return Image.fromarray(numbers)


def stock(folder: Path) -> torch.Tensor:
    """The video (T, 3, H, W) of the stock pipeline, from the folder alone."""
    from diffusers import StableVideoDiffusionPipeline

    pipeline = StableVideoDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        picture(),
        height=SIDE,
        width=SIDE,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        max_guidance_scale=1.0,
        fps=7,
        motion_bucket_id=180,
        noise_aug_strength=0.1,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
    ).frames
    return made[0]


def ours(model: WorldModel, on: bool) -> torch.Tensor:
    """The same by egowm, with its embedding or with zeros in its place."""
    if not on:
        torch.nn.init.zeros_(model.action_embedding.linear_2.weight)
        torch.nn.init.zeros_(model.action_embedding.linear_2.bias)
    actions = torch.full((1, FRAMES, 3), 0.1)
    seeded = torch.Generator().manual_seed(7)
    how = Sampling(steps=STEPS)
    return model.rollout(np.asarray(picture()), actions, how, generator=seeded).frames[0]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_the_stock_pipeline_shows_what_ours_shows_with_actions_off(folder, fitted, tiny_prior):
    found = stock(folder)
    with_actions = ours(WorldModel.from_pretrained(folder), on=True)
    expected = ours(WorldModel.from_pretrained(folder), on=False)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.05
    assert (with_actions - expected).abs().max() > 0.05  # the embedding is what is off
    assert (stock(tiny_prior) - found).abs().max() > 0.01  # and the network is not the base's


@pytest.mark.long
def test_it_is_an_export_that_needs_no_base(folder, fitted, tiny_prior, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    loaded = WorldModel.from_pretrained(moved)
    assert_equal(loaded, fitted)
    assert (loaded.spec, loaded.chunk, loaded.steps) == (fitted.spec, 4, 3)
    assert loaded.backbone.folder == moved
    with pytest.raises(ValueError, match="holds its base: leave the base out"):
        WorldModel.from_pretrained(moved, base=str(tiny_prior))
    loaded.save_pretrained(tmp_path / "export")  # an ordinary one, on the pipeline
    assert_equal(WorldModel.from_pretrained(tmp_path / "export"), fitted)


def test_what_lies_in_the_folder(folder, fitted, tiny_prior):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    weights = "diffusion_pytorch_model.safetensors"
    assert names == {
        "README.md",
        "model_index.json",
        "weights.safetensors",
        "world_model.json",
        "feature_extractor/preprocessor_config.json",
        "image_encoder/config.json",
        "image_encoder/model.safetensors",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        f"unet/{weights}",
        "vae/config.json",
        f"vae/{weights}",
    }
    record = json.loads((folder / "world_model.json").read_text())
    assert record["pipeline"] is True
    assert record["backbone_arguments"]["pretrained"] == "."
    assert record["base"]["sha256"] == fitted.backbone.base_sha256 != record["base_sha256"]
    same = (tiny_prior / "vae" / weights).read_bytes() == (folder / "vae" / weights).read_bytes()
    assert same
    card = (folder / "README.md").read_text()
    assert f'StableVideoDiffusionPipeline.from_pretrained("{folder.as_posix()}")' in card


@pytest.mark.long
def test_a_lora_is_merged(tiny_prior, spec, tmp_path):
    model = WorldModel(SVD(str(tiny_prior)), train="lora", lora_rank=2, steps=3, chunk=4, spec=spec)
    model.configure_model()
    with torch.no_grad():
        for name, parameter in model.backbone.network.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
    model.eval().save_pipeline(tmp_path / "pipeline")
    loaded = WorldModel.from_pretrained(tmp_path / "pipeline")
    assert not any("lora" in name for name in loaded.state_dict())
    torch.testing.assert_close(imagine(loaded), imagine(model), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        stock(tmp_path / "pipeline"), ours(loaded, on=False), atol=1e-4, rtol=0
    )


def test_weights_in_half_precision(fitted, tmp_path):
    fitted.save_pipeline(tmp_path / "half", torch.float16)
    file = "unet/diffusion_pytorch_model.safetensors"
    size = sum(p.numel() for p in fitted.backbone.network.parameters())
    assert (tmp_path / "half" / file).stat().st_size == pytest.approx(2 * size, rel=0.1)
    loaded = WorldModel.from_pretrained(tmp_path / "half")
    assert next(loaded.backbone.network.parameters()).dtype == torch.float32
    torch.testing.assert_close(stock(tmp_path / "half"), ours(loaded, on=False), atol=1e-4, rtol=0)


@pytest.mark.long
def test_a_base_of_variants_gets_plain_names(fitted, tiny_prior, spec, tmp_path):
    """Of a base that was downloaded in float16 alone, the stock pipeline finds every file."""
    base = tmp_path / "base"
    shutil.copytree(tiny_prior, base)
    file = base / "vae/diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    encoder = base / "image_encoder/model.safetensors"
    shutil.copyfile(encoder, encoder.with_name("model.fp16.safetensors"))  # beside the plain one
    model = WorldModel(SVD(str(base)), steps=3, chunk=4, spec=spec)
    model.configure_model()
    model.eval().save_pipeline(tmp_path / "pipeline")
    assert (tmp_path / "pipeline/vae" / file.name).is_file()
    assert not list((tmp_path / "pipeline").rglob("*fp16*"))
    loaded = WorldModel.from_pretrained(tmp_path / "pipeline")
    torch.testing.assert_close(
        stock(tmp_path / "pipeline"), ours(loaded, on=False), atol=1e-4, rtol=0
    )


def test_a_lowest_noise_level_is_the_pipelines_too(tiny_prior, spec, tmp_path):
    model = WorldModel(SVD(str(tiny_prior), sampler_min=2.0), steps=3, chunk=4, spec=spec)
    model.configure_model()
    model.eval().save_pipeline(tmp_path / "pipeline")
    loaded = WorldModel.from_pretrained(tmp_path / "pipeline")
    torch.testing.assert_close(
        stock(tmp_path / "pipeline"), ours(loaded, on=False), atol=1e-4, rtol=0
    )


@pytest.mark.long
def test_it_takes_the_place_of_its_own_kind_alone(fitted, folder, tmp_path):
    fitted.save_pipeline(folder)  # again
    assert_equal(WorldModel.from_pretrained(folder), fitted)
    with pytest.raises(FileExistsError, match="did not write"):
        fitted.save_pretrained(folder)
    fitted.save_pretrained(tmp_path / "export")
    with pytest.raises(FileExistsError, match="did not write"):
        fitted.save_pipeline(tmp_path / "export")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt"):
        fitted.save_pipeline(folder)


@pytest.mark.long
def test_a_damaged_network_is_named(folder):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    changed = bytearray(file.read_bytes())
    changed[-1000] ^= 1
    file.write_bytes(changed)
    with pytest.raises(ValueError, match="belongs to another base"):
        WorldModel.from_pretrained(folder)


def test_a_model_that_is_not_fitted(tiny_prior, tmp_path):
    with pytest.raises(ValueError, match="Nothing to save yet"):
        WorldModel(SVD(str(tiny_prior))).save_pipeline(tmp_path / "pipeline")
    assert not (tmp_path / "pipeline").exists()


@pytest.mark.long
def test_a_pipeline_is_pushed_and_pulled_whole(folder, fitted, hub):  # noqa: F811
    from egowm.publish import publish

    commit = publish(folder, "lab/video", licence="other")
    card = hub.files("lab/video")["README.md"].decode()
    assert "library_name: diffusers" in card
    assert 'StableVideoDiffusionPipeline.from_pretrained("lab/video")' in card
    assert 'WorldModel.from_pretrained("lab/video", revision="main", download=True)' in card
    assert str(folder.parent) not in hub.files("lab/video")["world_model.json"].decode()
    pulled = WorldModel.from_pretrained("lab/video", revision=commit, download=True)
    assert_equal(pulled, fitted)
