"""Closed forms for VAEs and for SVD's UNet.

Group normalisation would wipe out the level of a signal; two "anchor" channels of constant +A and
-A in its group fix the group's mean and variance, so that the signal passes with its level and most
of its contrast. The SiLU behind is nearly linear around 3.
"""

from typing import Any

import torch
from torch import Tensor, nn

from egowm.checks import counted

_ANCHOR = 8.0
_STRONG_ANCHOR = 20.0  # where the signal, lifted, has a length of its own
_AMPLIFICATION = 8.0  # of a block's cosines, against its mean colours
_POINT = 3.0  # where the SiLU is used as a straight line
_VALUE = _POINT / (1 + torch.tensor(-_POINT).exp().item())
_SLOPE = 1.08


@torch.no_grad()
def start_as_cosines(vae: Any) -> None:
    """Make an `AutoencoderKL` (one norm group) start as the first cosines of square blocks.

    The first three latent channels are the mean colours of a block; then, in JPEG's manner, come
    its lowest cosines in luminance and in two colour differences, coarse ones first. The decoder
    starts as linear growing of the mean colours: what the cosines are for it has to learn, as
    convolutions after a nearest-neighbour upsampling do not know which pixel of a block they are.
    """
    _silence_residuals(vae)
    width = vae.encoder.conv_in.out_channels
    anchors = (width - 2, width - 1)
    latents = vae.config.latent_channels
    downsamplers = [s.conv for block in vae.encoder.down_blocks for s in block.downsamplers or ()]
    needed = 2 + max(latents, 3 * 4 ** (len(downsamplers) - 1))
    if width < needed:
        least = counted(needed, "channel")
        raise ValueError(f"Expected at least {least} in the first stage, got {width}.")
    centre, tent = _centre(), _tent()
    _pass(vae.encoder.conv_in, centre, 3, anchors)
    for k, conv in enumerate(downsamplers[:-1]):
        _unshuffle(conv, 3 * 4**k, anchors)
    cosines = _cosines(latents, 2 ** len(downsamplers))
    last = cosines.reshape(len(cosines), 3 * 4 ** (len(downsamplers) - 1), 2, 2)
    _pass(downsamplers[-1], centre, 0, anchors)
    downsamplers[-1].weight[:latents] = 0
    downsamplers[-1].weight[: len(last), : last.shape[1], :2, :2] = last
    downsamplers[-1].bias[:latents] = 0
    _pass(vae.decoder.conv_in, centre, latents, anchors)
    for block in vae.decoder.up_blocks:
        for sampler in block.upsamplers or ():
            _pass(sampler.conv, tent, 3, anchors)
    for half, count in ((vae.encoder, latents), (vae.decoder, 3)):
        share = (2 / half.conv_norm_out.num_channels) ** 0.5  # both anchors in one group of all
        _read(half.conv_norm_out, half.conv_out, list(range(count)), _ANCHOR * share, _gains(count))
    eye = torch.eye(latents)[:, :, None, None]
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:latents, :latents] = eye
    vae.quant_conv.bias.zero_()
    vae.quant_conv.bias[latents:] = -8.0  # log variance: noise well below the signal
    vae.post_quant_conv.weight.copy_(eye)
    vae.post_quant_conv.bias.zero_()


def _centre() -> Tensor:
    """A kernel that leaves a signal as it is."""
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1.0
    return centre


def _tent() -> Tensor:
    """A kernel that makes nearest-neighbour growing linear."""
    side = torch.tensor([0.25, 0.5, 0.25])
    return torch.outer(side, side)


def _gains(count: int) -> Tensor:
    return torch.full((count,), 1.1)  # what the norms take away


def _unshuffle(conv: nn.Conv2d, count: int, anchors: tuple[int, int]) -> None:
    """Output channel 4 c + 2 i + j is pixel (i, j) of each 2x2 square of channel c."""
    _pass(conv, torch.zeros(3, 3), 0, anchors)
    assert conv.bias is not None
    conv.weight[: 4 * count] = 0
    conv.bias[: 4 * count] = 0
    for channel in range(count):
        for square in range(4):
            conv.weight[4 * channel + square, channel, square // 2, square % 2] = 1.0


def _cosines(count: int, side: int) -> Tensor:
    """Analysis vectors (count or fewer, values) of a `side` x `side` block of colours, amplified so
    that the parts differ less in strength; values in the order that `_unshuffle` gives them."""
    places = (torch.arange(side) + 0.5) * torch.pi / side
    waves = torch.stack([(k * places).cos() for k in range(side)]) / side  # (side, side)
    opponents = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]]) / 3
    order = [
        ((u + v) * (1.0 if channel == 0 else 2.2), channel, u, v)
        for channel in range(3)
        for u in range(side)
        for v in range(side)
        if u + v
    ]
    vectors = [
        torch.einsum("c,i,j->cij", torch.eye(3)[c], waves[0], waves[0]) for c in range(3)
    ] + [
        _AMPLIFICATION * torch.einsum("c,i,j->cij", opponents[c], waves[u], waves[v])
        for _, c, u, v in sorted(order)
    ]
    blocks = torch.stack(vectors[:count])
    levels = side.bit_length() - 1
    split = blocks.reshape(len(blocks), 3, *[2] * levels, *[2] * levels)
    # (k, c, row bits coarse to fine, column bits): unshuffling takes the finest bits first.
    axes = [0, 1]
    for bit in reversed(range(levels)):
        axes += [2 + bit, 2 + levels + bit]
    return split.permute(axes).reshape(len(blocks), -1)


@torch.no_grad()
def start_causal_as_cosines(vae: Any) -> None:
    """The same for an `AutoencoderKLWan` whose latent frames are single frames.

    Its norms divide by the length of a position's channels, which the anchors dominate; they have
    no bias, so the signal itself is lifted to where the SiLU is straight.
    """
    _silence_residuals(vae)
    latents, levels = vae.config.z_dim, len(vae.config.temperal_downsample)
    if any(vae.config.temperal_downsample):
        raise ValueError(f"Expected no temporal compression, got {vae.config.temperal_downsample}.")
    width = vae.encoder.conv_in.out_channels
    needed = 2 + max(latents, 3 * 4 ** (levels - 1))
    if vae.encoder.conv_out.in_channels != width or width < needed:
        least = counted(needed, "channel")
        raise ValueError(f"Expected equal stages of at least {least}, got {width}.")
    anchors, centre = (width - 2, width - 1), _centre()
    _pass_one_frame(vae.encoder.conv_in, centre, 3, anchors)
    convs = [b.resample[1] for b in vae.encoder.down_blocks if hasattr(b, "resample")]
    for k, conv in enumerate(convs[:-1]):
        _unshuffle(conv, 3 * 4**k, anchors)
    cosines = _cosines(latents, 2**levels)
    last = cosines.reshape(len(cosines), 3 * 4 ** (levels - 1), 2, 2)
    _pass(convs[-1], centre, 0, anchors)
    convs[-1].weight[:latents] = 0
    convs[-1].weight[: len(last), : last.shape[1], :2, :2] = last
    convs[-1].bias[:latents] = _POINT
    _pass_one_frame(vae.decoder.conv_in, centre, latents, anchors)
    for block in vae.decoder.up_blocks:
        for resnet in block.resnets:
            if hasattr(resnet.conv_shortcut, "weight"):
                out = resnet.conv_shortcut.out_channels
                _pass_one_frame(resnet.conv_shortcut, torch.ones(1, 1), 3, (out - 2, out - 1))
        for sampler in block.upsamplers or ():
            conv = sampler.resample[1]
            _pass(conv, _tent(), 3, (conv.out_channels - 2, conv.out_channels - 1))
    vae.decoder.up_blocks[-1].resnets[0].conv_shortcut.bias[:3] = _POINT
    for half, count in ((vae.encoder, latents), (vae.decoder, 3)):
        power = 2 * _STRONG_ANCHOR**2 + count * _POINT**2
        half.norm_out.gamma[:count] = (power / half.norm_out.gamma.numel()) ** 0.5
        half.conv_out.weight[:count] = 0
        half.conv_out.bias[:count] = -_VALUE / _SLOPE
        for k in range(count):
            half.conv_out.weight[k, k, -1, 1, 1] = 1 / _SLOPE
    for module in vae.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter) and (bias.abs() == _ANCHOR).any():
            bias[bias.abs() == _ANCHOR] *= _STRONG_ANCHOR / _ANCHOR
            if module not in (
                vae.encoder.conv_in,
                vae.decoder.conv_in,
            ):  # they see the last anchors
                module.weight[:, -2:] = 0
    eye = torch.eye(latents)[:, :, None, None, None]
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:latents, :latents] = eye
    vae.quant_conv.bias.zero_()
    vae.quant_conv.bias[latents:] = -8.0
    vae.post_quant_conv.weight.copy_(eye)
    vae.post_quant_conv.bias.zero_()


@torch.no_grad()
def start_as_copy(unet: Any, scaling_factor: float) -> None:
    """Make an SVD UNet start as "every frame is the context", at all noise levels.

    In v-prediction the output that means clean latents z at high noise is -z. The first stage
    needs at least 3 channels in a norm group (96 in all).
    """
    channels = unet.conv_out.out_channels
    width = unet.conv_in.out_channels
    per_group = width // unet.conv_norm_out.num_groups
    if per_group < 3:
        raise ValueError(f"Expected a first stage of at least 96 channels, got {width}.")
    rows = [k * per_group for k in range(channels)]
    unet.conv_in.weight[rows] = 0
    unet.conv_in.bias[rows] = 0
    for k, row in enumerate(rows):
        unet.conv_in.weight[row, channels + k, 1, 1] = 1.0
    last = unet.up_blocks[-1].resnets[-1]
    shortcut = last.spatial_res_block.conv_shortcut
    skip = shortcut.in_channels - width  # the skip from conv_in comes last
    for block in (last.spatial_res_block, last.temporal_res_block):
        block.conv2.weight.zero_()
        block.conv2.bias.zero_()
    for attention in getattr(unet.up_blocks[-1], "attentions", [])[-1:]:
        attention.proj_out.weight.zero_()
        attention.proj_out.bias.zero_()
    for row in rows:
        shortcut.weight[[row, row + 1, row + 2]] = 0
        shortcut.weight[row, skip + row] = 1.0
        shortcut.bias[[row, row + 1, row + 2]] = torch.tensor([0.0, _ANCHOR, -_ANCHOR])
    share = (2 / per_group) ** 0.5
    _read(
        unet.conv_norm_out,
        unet.conv_out,
        rows,
        _ANCHOR * share,
        torch.full((channels,), -float(scaling_factor)),
    )


def _silence_residuals(network: nn.Module) -> None:
    """Zero the last layer of every residual branch."""
    for name, module in network.named_modules():
        if name.endswith((".conv2", ".to_out.0", ".proj")):
            module.weight.zero_()
            module.bias.zero_()


def _pass(conv: nn.Conv2d, kernel: Tensor, count: int, anchors: tuple[int, int]) -> None:
    """The first `count` channels through `kernel`; the anchors from the bias."""
    assert conv.bias is not None
    conv.weight[:count] = 0
    conv.weight[list(anchors)] = 0
    for k in range(min(count, conv.in_channels)):
        conv.weight[k, k] = kernel
    conv.bias[:count] = 0
    conv.bias[list(anchors)] = torch.tensor([_ANCHOR, -_ANCHOR])


def _pass_one_frame(conv: nn.Conv3d, kernel: Tensor, count: int, anchors: tuple[int, int]) -> None:
    """`_pass` for a causal convolution over time: only the newest frame counts."""
    assert conv.bias is not None
    rows = [*range(count), *anchors]
    conv.weight[rows] = 0
    for k in range(min(count, conv.in_channels)):
        conv.weight[k, k, -1] = kernel
    conv.bias[:count] = 0
    conv.bias[list(anchors)] = torch.tensor([_ANCHOR, -_ANCHOR])


def _read(
    norm: nn.GroupNorm, conv: nn.Conv2d, rows: list[int], deviation: float, gains: Tensor
) -> None:
    """Undo norm and SiLU on channels `rows`: output k is gains[k] times the signal in rows[k]."""
    assert conv.bias is not None
    norm.weight[rows] = deviation
    norm.bias[rows] = _POINT
    conv.weight[: len(rows)] = 0
    conv.bias[: len(rows)] = -gains * _VALUE / _SLOPE
    for k, row in enumerate(rows):
        conv.weight[k, row, 1, 1] = gains[k] / _SLOPE
