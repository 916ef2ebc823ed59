"""Training of a small VAE: the folder that it leaves, and the scaling factor that it measures."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from lightning import Trainer

from egowm.commands import main as cli
from egowm.data import Rooms, Window
from egowm.pretraining.autoencoder import Autoencoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Rooms:
    window = Window(context=1, horizon=2, height=16, width=16)
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1, "num_frames": 6}
    return Rooms(str(tmp_path_factory.mktemp("rooms")), window, 4, world="passive", **counts)


def fit(module, data, folder, **options) -> AutoencoderKL:
    """Two steps; the VAE as the folder gives it back."""
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, data)
    return AutoencoderKL.from_pretrained(folder / "vae")


@torch.no_grad()
def power(vae: AutoencoderKL, loader) -> float:
    """Mean square of the scaled latents of all frames."""
    frames = torch.cat([clip.frames for clip in loader]).flatten(0, 1)
    latents = vae.encode(frames.float() / 127.5 - 1).latent_dist.mode()
    return float((latents * vae.config.scaling_factor).square().mean())


def test_a_fit_leaves_a_vae_with_its_scaling_factor(rooms, tmp_path):
    """Both epochs of one step are validated, so validation clips have unit power."""
    module = Autoencoder(width=32, stages=2, crop=8)
    vae = fit(module, rooms, tmp_path, limit_train_batches=1)
    assert power(vae, rooms.val_dataloader()) == pytest.approx(1.0, abs=1e-3)
    weights = module.vae.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in vae.state_dict().items())
    assert vae.config.latent_channels == 16
    assert vae.config.norm_num_groups == 1


@pytest.mark.parametrize("options", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 9}])
def test_the_factor_is_measured_even_if_training_never_validates(rooms, tmp_path, options):
    """On training clips then; the check before training (second case) counts for nothing."""
    vae = fit(Autoencoder(width=32, stages=2, learning_rate=0.02), rooms, tmp_path, **options)
    assert power(vae, rooms.train_dataloader()) == pytest.approx(1.0, abs=0.15)


def test_a_decoder_is_trained_on_and_the_latents_stay(rooms, tmp_path):
    first = fit(Autoencoder(width=32, stages=2), rooms, tmp_path / "first")
    folder = str(tmp_path / "first/vae")
    then = fit(Autoencoder(continued=folder, learning_rate=0.01), rooms, tmp_path / "then")
    assert then.config.scaling_factor == first.config.scaling_factor
    before, after = first.state_dict(), then.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "post_quant_conv"}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("part", [".", "config.json", "diffusion_pytorch_model.safetensors"])
def test_a_vae_to_train_on_that_is_not_whole(causal, part, tmp_path, monkeypatch, online):
    monkeypatch.chdir(tmp_path)
    module = Autoencoder(width=32, stages=2, causal=causal)
    module.configure_model()
    module.vae.save_pretrained("runs/vae")
    shutil.rmtree("runs") if part == "." else Path("runs/vae", part).unlink()
    lacking = "config.json" if part == "." else part
    with pytest.raises(FileNotFoundError, match=f"^Expected runs/vae/{lacking}, found none"):
        Autoencoder(continued="runs/vae", causal=causal).configure_model()


def test_the_loss_in_closed_form(rooms):
    """L1 + 4 x squared error + kl x KL, of a sample of the posterior."""
    module = Autoencoder(width=32, stages=2, kl=0.01)
    module.configure_model()
    frames = next(iter(rooms.val_dataloader())).frames
    target = frames.flatten(0, 1).float() / 127.5 - 1
    with torch.no_grad():
        torch.manual_seed(3)
        loss, logs = module.loss(frames)
        torch.manual_seed(3)
        posterior = module.vae.encode(target).latent_dist
        latents = posterior.sample()
        error = module.vae.decode(latents).sample - target
    mean, logvar = posterior.mean, posterior.logvar
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    assert logs["kl"].item() == pytest.approx(kl.item(), rel=1e-4)
    expected = error.abs().mean() + 4 * error.square().mean() + 0.01 * kl
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert logs["psnr"].item() == pytest.approx((10 * (4 / error.square().mean()).log10()).item())
    assert logs["psnr"] > 16  # it starts as resampling


def test_crops_are_cut_from_the_frames():
    frames = torch.arange(64).reshape(1, 1, 1, 8, 8).expand(2, 3, 3, 8, 8)
    module = Autoencoder(crop=4)
    corners = set()
    for _ in range(60):
        cropped = module._cropped(frames)
        assert cropped.shape == (2, 3, 3, 4, 4)
        corner = int(cropped[0, 0, 0, 0, 0])
        assert torch.equal(
            cropped[0, 0, 0], corner + torch.arange(4) + 8 * torch.arange(4)[:, None]
        )
        corners.add(corner)
    assert (
        {corner // 8 for corner in corners} == {corner % 8 for corner in corners} == set(range(5))
    )
    assert torch.equal(Autoencoder(crop=8)._cropped(frames), frames)
    assert torch.equal(Autoencoder(crop=0)._cropped(frames), frames)


def test_a_crop_larger_than_the_frame_is_refused(rooms, tmp_path):
    with pytest.raises(ValueError, match="a crop of at most 16x16, got 32") as caught:
        fit(Autoencoder(width=32, stages=2, crop=32), rooms, tmp_path)
    assert cli.explain(caught.value) == "Expected a crop of at most 16x16, got 32."
    assert not (tmp_path / "vae").exists()
