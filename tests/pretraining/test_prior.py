"""Pretraining a video prior: what is trained, and a folder that diffusers loads by itself."""

import shutil

import pytest
import torch
from lightning import Trainer
from PIL import Image
from safetensors.torch import load_file

from egowm.backbones import SVD
from egowm.data import Rooms, Window
from egowm.pretraining.prior import VideoPrior, save_pipeline

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


@pytest.mark.long
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

    pipeline.set_progress_bar_config(disable=True)
    picture = Image.fromarray(rooms.split("test")[0].read([0])[0])
    video = pipeline(picture, 16, 16, num_frames=3, num_inference_steps=2, output_type="pt").frames
    assert video.shape == (1, 3, 3, 16, 16)
    assert torch.isfinite(video).all()
    assert video.std() > 0.01


def test_single_frames_follow_the_one_before(tiny_prior, rooms, monkeypatch):
    """T samples from each clip of T+1 frames: frame k given frame k-1, and no others."""
    module = VideoPrior(SVD(str(tiny_prior)), drop_image=0.0, next_frame=0.5)
    module.configure_model()
    clip = next(iter(rooms.train_dataloader()))
    seen = {}
    condition, encode = module.backbone.condition, module.backbone.codec.encode

    def watched_condition(context, strength, num_frames, codec):
        seen["context"] = context
        return condition(context, strength, num_frames=num_frames)

    def watched_encode(frames):
        seen["target"] = frames
        return encode(frames)

    monkeypatch.setattr(module.backbone, "condition", watched_condition)
    monkeypatch.setattr(module.backbone.codec, "encode", watched_encode)
    frames = clip.frames.float() / 127.5 - 1
    loss, _ = module.loss(clip, single=True)
    assert torch.isfinite(loss)
    assert seen["context"].shape == seen["target"].shape == (8, 1, 3, 16, 16)
    torch.testing.assert_close(seen["context"].view(4, 2, 3, 16, 16), frames[:, :-1])
    torch.testing.assert_close(seen["target"].view(4, 2, 3, 16, 16), frames[:, 1:])
    module.loss(clip)
    torch.testing.assert_close(seen["context"], frames[:, :1])
    torch.testing.assert_close(seen["target"], frames)


@pytest.mark.long
def test_both_kinds_of_steps_happen(tiny_prior, rooms, tmp_path, monkeypatch):
    module, kinds = VideoPrior(SVD(str(tiny_prior)), warmup=1, next_frame=0.5), []
    loss = module.loss

    def watched(clip, single=False):
        kinds.append(single)
        return loss(clip, single)

    monkeypatch.setattr(module, "loss", watched)
    fit(module, rooms, tmp_path, 12)
    assert {True, False} == set(kinds)
    with pytest.raises(ValueError, match="next_frame, a share of the steps"):
        VideoPrior(SVD(str(tiny_prior)), next_frame=1.5)


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
    saved = backbone.network.state_dict()
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, saved[name].half().float())
    assert (folder / "model_index.json").is_file()


def test_a_weight_beyond_float16_leaves_the_folder_as_it_was(tiny_prior, tmp_path):
    folder = tmp_path / "prior"
    shutil.copytree(tiny_prior, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    backbone = SVD(str(folder))
    backbone.load()
    with torch.no_grad():
        next(backbone.network.parameters()).view(-1)[0] = 1e6
    with pytest.raises(ValueError, match=r"The unet: float16 cannot hold .* is 1e\+06"):
        save_pipeline(backbone, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_context_is_the_first_frame_of_the_target(tiny_prior, rooms, monkeypatch):
    """SVD's convention, which fine-tuning with actions leaves: there, only the future is made."""
    module = VideoPrior(SVD(str(tiny_prior)), drop_image=0.0)
    module.configure_model()
    seen = {}

    def loss(process, estimate, latents, given):
        assert given == 0
        seen["target"] = latents
        estimate(latents, torch.ones(len(latents)))
        return latents.mean(), {}

    def forward(noisy, sigma, condition):
        seen["context"] = condition.latents
        return noisy

    monkeypatch.setattr("egowm.pretraining.prior.denoising_loss", loss)
    monkeypatch.setattr(module.backbone, "forward", forward)
    monkeypatch.setattr(
        module.backbone, "training_noise", lambda count, generator: torch.zeros(count)
    )
    clip = next(iter(rooms.val_dataloader()))
    module.loss(clip)
    assert clip.frames.shape[1] == seen["target"].shape[1] == 3
    scale = module.backbone.vae.config.scaling_factor
    torch.testing.assert_close(seen["target"][:, 0], scale * seen["context"], atol=1e-5, rtol=1e-5)
    assert (seen["target"][:, 1] - seen["target"][:, 0]).abs().max() > 0.01


def test_what_is_trained(tiny_prior, rooms):
    module = VideoPrior(SVD(str(tiny_prior)), drop_image=0.0)
    module.configure_model()
    loss, _ = module.loss(next(iter(rooms.val_dataloader())))
    loss.backward()
    backbone = module.backbone
    for part in (backbone.network, backbone.image_encoder):
        moved = [p.grad is not None and bool(p.grad.any()) for p in part.parameters()]
        assert sum(moved) > 0.8 * len(moved)
    assert all(p.grad is None and not p.requires_grad for p in backbone.vae.parameters())


def test_an_image_that_is_dropped_trains_no_encoder(tiny_prior, rooms):
    module = VideoPrior(SVD(str(tiny_prior)), drop_image=1.0)
    module.configure_model()
    module.loss(next(iter(rooms.val_dataloader())))[0].backward()
    assert all(
        p.grad is None or not p.grad.any() for p in module.backbone.image_encoder.parameters()
    )
