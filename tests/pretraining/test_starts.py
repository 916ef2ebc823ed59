"""Starts in closed form: a VAE that resamples, networks that repeat their context.

They are near what they imitate, not equal to it, and the tolerances are measured ones: the SiLU is
no straight line, free channels enter the normalisation and lower the gain, borders see zeros.
"""

import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    CosmosTransformer3DModel,
    UNetSpatioTemporalConditionModel,
)
from torch import Tensor

from egowm.diffusion import EDM
from egowm.pretraining.starts import (
    start_as_copy,
    start_as_cosines,
    start_causal_as_cosines,
    start_transformer_as_copy,
)

SCALE = 0.7  # a scaling factor


def psnr(a: Tensor, b: Tensor) -> float:
    """dB, for images in [-1, 1]."""
    return float(10 * torch.log10(4 / (a - b).square().mean()))


def smooth_images(contrast: float = 1.0) -> Tensor:
    """Images (8, 3, 32, 32) of soft blobs as wide as a latent pixel, around 0."""
    coarse = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = F.interpolate(coarse, size=(32, 32), mode="bicubic", align_corners=False)
    return contrast * images.clamp(-1, 1)


def shrunk(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=0.25, mode="area")


def resampled(images: Tensor) -> Tensor:
    """What the VAE starts as."""
    return F.interpolate(shrunk(images), scale_factor=4, mode="bilinear", align_corners=False)


def make_vae(seed: int, latents: int = 4, stages: int = 3) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(32,) * stages,
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        layers_per_block=1,
        latent_channels=latents,
        norm_num_groups=1,
        mid_block_add_attention=False,
    ).eval()


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor) -> Tensor:
    return vae.decode(vae.encode(images).latent_dist.mode()).sample


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_vae_starts_as_resampling(seed):
    """Measured: within 3 dB of resampling (19.7 dB); default weights 7.7 to 11.1 dB."""
    images, vae = smooth_images(), make_vae(seed)
    before = psnr(reconstruct(vae, images), images)
    start_as_cosines(vae)
    after = psnr(reconstruct(vae, images), images)
    assert psnr(resampled(images), images) - 5.5 < after
    assert after > max(14.0, before + 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_away_from_the_border_only_the_gain_is_missing(seed):
    images, vae = smooth_images(contrast=0.5), make_vae(seed)
    start_as_cosines(vae)
    inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    made = (reconstruct(vae, images) - reconstruct(vae, 0 * images))[inside].flatten()
    expected = resampled(images)[inside].flatten()
    assert torch.corrcoef(torch.stack([made, expected]))[0, 1] > 0.985
    assert 0.6 < (made @ expected) / (expected @ expected) < 1.1


@pytest.mark.parametrize("stages", [2, 3])
def test_latents_are_the_cosines_of_blocks(stages):
    """Mean colours first, then the lowest cosines of the luminance, against NumPy's own sums."""
    vae, side = make_vae(0, latents=6, stages=stages), 2 ** (stages - 1)
    start_as_cosines(vae)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.6 - 0.3
    with torch.no_grad():
        posterior = vae.encode(images).latent_dist
        found = posterior.mode() - vae.encode(0 * images).latent_dist.mode()
    blocks = images.unfold(2, side, side).unfold(3, side, side)  # (B, 3, h, w, row, column)
    wave = torch.cos((torch.arange(side) + 0.5) * torch.pi / side)
    grey = blocks.mean(1)
    expected = [
        *blocks.mean((4, 5)).unbind(1),
        (grey * wave).mean((3, 4)),
        (grey * wave[:, None]).mean((3, 4)),
    ]
    for channel, cosine in enumerate(expected):
        pair = torch.stack([found[:, channel].flatten(), cosine.flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.99
    assert (found[:, :3] - blocks.mean((4, 5))).abs().max() < 0.12
    assert torch.equal(posterior.logvar, torch.full_like(posterior.logvar, -8.0))


def test_more_latents_than_a_block_has_cosines():
    """The rest starts silent: 2x2 blocks of 3 colours have 12."""
    vae = make_vae(0, latents=16, stages=2)
    start_as_cosines(vae)
    images = smooth_images(contrast=0.5)
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mode()
    assert latents[:, 12:].std((0, 2, 3)).max() < 0.02 < latents[:, :3].std((0, 2, 3)).min()


def test_a_first_stage_too_narrow_for_the_blocks_is_refused():
    with pytest.raises(ValueError, match="at least 50 channels in the first stage, got 32"):
        start_as_cosines(make_vae(0, stages=4))


def make_causal(width: int = 16, latents: int = 8, stages: int = 2, **options) -> AutoencoderKLWan:
    torch.manual_seed(0)
    sizes = {"dim_mult": [1] * stages, "temperal_downsample": [False] * (stages - 1)}
    return AutoencoderKLWan(
        base_dim=width, z_dim=latents, num_res_blocks=1, **sizes | options
    ).eval()


@torch.no_grad()
@pytest.mark.parametrize(("stages", "width"), [(2, 16), (3, 16)])
def test_a_causal_vae_starts_as_the_same_cosines(stages, width):
    """Mean colours first, then the lowest cosines of the luminance; frame by frame."""
    vae, side = make_causal(width, stages=stages), 2 ** (stages - 1)
    before = psnr(
        vae.decode(vae.encode(smooth_images()[:, :, None]).latent_dist.mode()).sample,
        smooth_images()[:, :, None],
    )
    start_causal_as_cosines(vae)
    videos = smooth_images(contrast=0.5)[None].transpose(1, 2)[:, :, :5]  # (1, 3, 5, 32, 32)
    posterior = vae.encode(videos).latent_dist
    found, images = posterior.mode()[0].transpose(0, 1), videos[0].transpose(0, 1)
    blocks = images.unfold(2, side, side).unfold(3, side, side)
    wave = torch.cos((torch.arange(side) + 0.5) * torch.pi / side)
    grey = blocks.mean(1)
    expected = [
        *blocks.mean((4, 5)).unbind(1),
        (grey * wave).mean((3, 4)),
        (grey * wave[:, None]).mean((3, 4)),
    ]
    for channel, cosine in enumerate(expected):
        pair = torch.stack([found[:, channel].flatten(), cosine.flatten()])
        assert torch.corrcoef(pair)[0, 1] > 0.98
    assert torch.equal(posterior.logvar, torch.full_like(posterior.logvar, -8.0))
    made = vae.decode(posterior.mode()).sample[0].transpose(0, 1)
    small = F.interpolate(images, scale_factor=1 / side, mode="area")
    bilinear = F.interpolate(small, scale_factor=side, mode="bilinear", align_corners=False)
    assert psnr(made, images) > psnr(bilinear, images) - 4
    assert psnr(made, images) > before + 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperal_downsample": [True]}, r"Expected no temporal compression, got \[True\]"),
        ({"stages": 3, "width": 12}, "equal stages of at least 14 channels, got 12"),
        ({"latents": 16}, "equal stages of at least 18 channels, got 16"),
        ({"dim_mult": [1, 2]}, "equal stages of at least 10 channels, got 16"),
    ],
)
def test_causal_vaes_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        start_causal_as_cosines(make_causal(**options))


def make_unet(width: int = 96) -> UNetSpatioTemporalConditionModel:
    torch.manual_seed(0)
    down, up = "DownBlockSpatioTemporal", "UpBlockSpatioTemporal"
    return UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=(width, width),
        num_attention_heads=(2, 2),
        layers_per_block=1,
        down_block_types=(down, down),
        up_block_types=(up, up),
        cross_attention_dim=32,
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=48,
        sample_size=8,
        num_frames=3,
    ).eval()


def call(unet: UNetSpatioTemporalConditionModel, context: Tensor, seed: int) -> Tensor:
    """On noise, with an image, ids and a noise level of this seed: (B, 3, 4, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(context), 3, 4, 8, 8, generator=generator)
    return unet(
        torch.cat([noise, context[:, None].expand_as(noise)], 2),
        1.0 + 0.1 * seed,
        encoder_hidden_states=torch.randn(len(context), 1, 32, generator=generator),
        added_time_ids=torch.rand(len(context), 3, generator=generator),
        return_dict=False,
    )[0]


def test_a_unet_starts_as_copy():
    """Minus the scaled context in every frame: to 7% for latents of unit power."""
    unet = make_unet()
    start_as_copy(unet, SCALE)
    context = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    expected = -SCALE * context[:, None].expand(-1, 3, -1, -1, -1)
    with torch.no_grad():
        made, others = call(unet, context, 0), [call(unet, context, seed) for seed in (1, 2)]
    error = made - expected
    assert error.square().mean().sqrt() < 0.08 * expected.square().mean().sqrt()
    assert error[expected.abs() < 1.5 * SCALE].abs().max() < 0.12
    for other in others:  # other noise, image, ids and noise level
        assert torch.equal(other, made)
    assert torch.equal(made, made[:, :1].expand_as(made))


def test_a_copy_means_the_context_at_high_noise():
    """v-prediction: at sigma 700 the estimate of the clean latents is the scaled context."""
    unet, process = make_unet(), EDM()
    start_as_copy(unet, SCALE)
    context = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    noisy = process.initial(torch.randn(2, 3, 4, 8, 8), process.sigma_max)
    with torch.no_grad():
        made = call(unet, context, 0)
    clean = process.denoised(made, noisy, torch.full((2,), process.sigma_max))
    error = (clean - SCALE * context[:, None]).square().mean().sqrt()
    assert error < 0.08 * SCALE


def test_a_copy_can_be_trained_away():
    """Its zeros hold gradients back for one or two steps, not longer."""
    unet = make_unet()
    start_as_copy(unet, SCALE)
    optimizer = torch.optim.SGD(unet.parameters(), 0.1)
    context, target = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 4, 8, 8)
    for seed in range(3):
        optimizer.zero_grad()
        (call(unet, context, seed) - target).square().mean().backward()
        optimizer.step()
    still = [n for n, p in unet.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.long
def test_too_few_channels_for_a_copy():
    with pytest.raises(ValueError, match="first stage of at least 96 channels, got 64"):
        start_as_copy(make_unet(width=64), SCALE)


def make_transformer(**options) -> CosmosTransformer3DModel:
    torch.manual_seed(0)
    sizes = {
        "in_channels": 5,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 32,
        "num_layers": 3,
        "text_embed_dim": 16,
        "adaln_lora_dim": 8,
        "max_size": (8, 16, 16),
        "rope_scale": (1.0, 1.0, 1.0),
        "extra_pos_embed_type": None,
    }
    return CosmosTransformer3DModel(**sizes | options).eval()


def velocity(network: CosmosTransformer3DModel, latents: Tensor, time: float, text: int) -> Tensor:
    """Of latents (B, 4, T, h, w) whose frame 0 is the context."""
    count, _, frames, height, width = latents.shape
    mask = torch.zeros(count, 1, frames, height, width)
    mask[:, :, 0] = 1
    times = torch.full((count, 1, frames, 1, 1), time)
    times[:, :, 0] = 1e-4
    return network(
        latents,
        times,
        torch.randn(count, 2, 16, generator=torch.Generator().manual_seed(text)),
        condition_mask=mask,
        padding_mask=torch.zeros(1, 1, height, width),
        fps=10,
        return_dict=False,
    )[0]


@pytest.mark.parametrize("time", [0.05, 0.5, 0.999])
def test_a_transformer_starts_as_copy(time):
    """x_t - context in every frame, at all times and whatever the text: to 8%."""
    network = make_transformer()
    start_transformer_as_copy(network)
    latents = torch.randn(2, 4, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        made = velocity(network, latents, time, 0)
        other = velocity(network, latents, time, 1)
    expected = latents - latents[:, :, :1]
    error = (made - expected)[:, :, 1:].square().mean().sqrt()
    assert error < 0.08 * expected[:, :, 1:].square().mean().sqrt()
    assert torch.equal(made, other)


def test_the_context_is_fetched_from_its_own_place():
    """A single bright token of the context moves nothing but the same place of every frame."""
    network = make_transformer()
    start_transformer_as_copy(network)
    latents = torch.randn(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    changed = latents.clone()
    changed[:, :2, 0, 4:6, 8:10] += 1
    changed[:, 2:, 0, 4:6, 8:10] -= 1  # the layer norms take away a token's mean
    with torch.no_grad():
        moved = velocity(network, changed, 0.9, 0) - velocity(network, latents, 0.9, 0)
    away = moved[:, :, 1:].abs().amax((0, 1, 2))
    assert moved[:, :2, 1:, 4:6, 8:10].mean() == pytest.approx(-1, abs=0.1)
    assert moved[:, 2:, 1:, 4:6, 8:10].mean() == pytest.approx(1, abs=0.1)
    away[4:6, 8:10] = 0
    assert away.max() < 0.05


def test_a_transformers_copy_can_be_trained_away():
    network = make_transformer()
    start_transformer_as_copy(network)
    optimizer = torch.optim.SGD(network.parameters(), 0.02)
    target = torch.randn(1, 4, 3, 8, 8)
    for step in range(3):
        optimizer.zero_grad()
        torch.manual_seed(step)
        made = velocity(network, torch.randn(1, 4, 3, 8, 8), 0.5, step)
        (made - target).square().mean().backward()
        optimizer.step()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"num_layers": 1}, "at least 2 blocks and 36 channels, got .*, 1 and 64"),
        ({"num_attention_heads": 1}, "at least 2 blocks and 36 channels, got .*, 3 and 32"),
        ({"attention_head_dim": 16, "num_attention_heads": 4}, "heads of at least 18 channels"),
    ],
)
def test_a_transformer_too_small_for_a_copy(options, found):
    with pytest.raises(ValueError, match=found):
        start_transformer_as_copy(make_transformer(**options))
