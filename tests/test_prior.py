"""Pretraining: the VAE and the video prior leave folders that diffusers loads by itself."""

import json
import shutil

import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file

from egowm.autoencoder import Autoencoder
from egowm.backbones import SVD
from egowm.data import Rooms, Window
from egowm.prior import VideoPrior, save_pipeline

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


@pytest.fixture
def rooms(tmp_path) -> Rooms:
    window = Window(context=1, horizon=2, height=16, width=16)
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1, "num_frames": 6}
    return Rooms(str(tmp_path / "rooms"), window, 4, world="passive", **counts)


def fit(module, data, folder, steps: int) -> None:
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data)


def test_video_prior(tiny_prior, rooms, tmp_path):
    from diffusers import StableVideoDiffusionPipeline

    module = VideoPrior(SVD(str(tiny_prior), random=["image_encoder"]), warmup=1)
    fit(module, rooms, tmp_path, 2)
    pipeline = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "prior")
    for path in (tmp_path / "prior").rglob("*.safetensors"):
        assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    for mine, saved in (
        (module.backbone.network, pipeline.unet),
        (module.backbone.image_encoder, pipeline.image_encoder),
        (module.backbone.vae, pipeline.vae),
    ):
        weights = saved.state_dict()
        for name, value in mine.state_dict().items():
            assert torch.equal(value.half(), weights[name].half())
    start = SVD(str(tiny_prior))
    start.load()
    moved = [
        part for part in ("network", "image_encoder", "vae") if differ(module.backbone, start, part)
    ]
    assert moved == ["network", "image_encoder"]
    SVD(str(tmp_path / "prior")).load()


def differ(a: SVD, b: SVD, part: str) -> bool:
    pairs = zip(getattr(a, part).parameters(), getattr(b, part).parameters(), strict=True)
    return any(not torch.equal(x, y) for x, y in pairs)


def test_a_replaced_vae_travels_with_the_pipeline(tiny_prior, tmp_path):
    """And the index names its class, so that the stock pipeline loads it."""
    from diffusers import AutoencoderKL, StableVideoDiffusionPipeline

    AutoencoderKL(latent_channels=4, scaling_factor=0.7).save_pretrained(tmp_path / "vae")
    backbone = SVD(str(tiny_prior), vae_folder=str(tmp_path / "vae"))
    backbone.load()
    save_pipeline(backbone, tmp_path / "prior")
    pipeline = StableVideoDiffusionPipeline.from_pretrained(tmp_path / "prior")
    assert type(pipeline.vae) is AutoencoderKL
    assert pipeline.vae.config.scaling_factor == 0.7


def test_saving_over_its_own_folder(tiny_prior, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(tiny_prior, folder)
    backbone = SVD(str(folder), random=["unet"])
    backbone.load()
    save_pipeline(backbone, folder)
    again = SVD(str(folder))
    again.load()
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, backbone.network.state_dict()[name].half().float())
    assert (folder / "model_index.json").is_file()


def test_autoencoder(rooms, tmp_path):
    """The scaling factor brings the latents of validation frames to unit power."""
    from diffusers import AutoencoderKL

    module = Autoencoder(width=32, stages=2, crop=8)
    fit(module, rooms, tmp_path, 2)
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    assert json.loads((tmp_path / "vae/config.json").read_text())["scaling_factor"] != 0.18215
    frames = torch.cat([clip.frames for clip in rooms.val_dataloader()]).flatten(0, 1)
    with torch.no_grad():
        latents = vae.encode(frames.float() / 127.5 - 1).latent_dist.mode()
    assert latents.square().mean() * vae.config.scaling_factor**2 == pytest.approx(1.0, abs=0.02)
    with pytest.raises(ValueError, match="a crop of at most 16x16, got 32"):
        Autoencoder(crop=32)._cropped(frames[None])
