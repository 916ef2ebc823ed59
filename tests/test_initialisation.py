"""Starts in closed form: a VAE that resamples, a UNet that repeats the context."""

import pytest
import torch
from diffusers import AutoencoderKL, UNetSpatioTemporalConditionModel

from egowm.diffusion import EDM
from egowm.initialisation import start_as_copy, start_as_resampling


def smooth_frames(count: int, size: int) -> torch.Tensor:
    """(count, 3, size, size) in [-1, 1], without fine detail."""
    coarse = torch.rand(count, 3, 5, 5) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def test_a_vae_starts_as_resampling():
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    start_as_resampling(vae)
    frames = smooth_frames(4, 32)
    with torch.no_grad():
        posterior = vae.encode(frames).latent_dist
        latents = posterior.mode()
        back = vae.decode(latents).sample
    assert latents.shape == (4, 4, 8, 8)
    small = torch.nn.functional.avg_pool2d(frames, 4)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert (latents[:, :3] - small)[inner].abs().mean() < 0.05
    assert posterior.std.mean() < 0.1
    error = (back - frames)[..., 4:-4, 4:-4]  # zero padding darkens the border
    assert 10 * torch.log10(4 / error.square().mean()) > 23


def test_a_unet_starts_as_a_copy_of_the_context():
    unet = UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=(96, 96),
        num_attention_heads=(4, 4),
        layers_per_block=1,
        down_block_types=("DownBlockSpatioTemporal",) * 2,
        up_block_types=("UpBlockSpatioTemporal",) * 2,
        cross_attention_dim=32,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
    )
    start_as_copy(unet, scaling_factor=0.8)
    process, sigma = EDM(), torch.tensor([60.0, 20.0])
    context, target = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 4, 8, 8)
    noisy = target + sigma[:, None, None, None, None] * torch.randn_like(target)
    repeated = context[:, None].expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        output = unet(
            torch.cat([process.scale_input(noisy, sigma), repeated], 2),
            process.time(sigma),
            encoder_hidden_states=torch.randn(2, 1, 32),
            added_time_ids=torch.tensor([[6.0, 180.0, 0.1]]).expand(2, 3),
            return_dict=False,
        )[0]
    estimate, copied = process.denoised(output, noisy, sigma), 0.8 * repeated
    error = (estimate - copied).square().mean() / copied.square().mean()
    assert error < 0.1
    loss = torch.nn.functional.mse_loss
    assert loss(estimate, copied) < 0.1 * loss(torch.zeros_like(copied), copied)


def test_a_narrow_unet_is_refused(world_model):
    with pytest.raises(ValueError, match="at least 96 channels, got 32"):
        start_as_copy(world_model.backbone.network, 1.0)
