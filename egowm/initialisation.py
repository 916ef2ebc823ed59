"""Starts for small networks that know the obvious, so that training spends its samples on the rest.

From default weights a small VAE needs thousands of steps before it beats plain resampling, and a
small UNet as long before it beats repeating the context. Both are set here in closed form. Group
normalisation would wipe out the level of a signal; two "anchor" channels of constant +A and -A in
its group fix the group's mean and variance, so that the signal passes with its level and most of
its contrast. The SiLU behind is nearly linear around 3.
"""

from typing import Any

import torch
from torch import Tensor, nn

_ANCHOR = 8.0
_POINT = 3.0  # where the SiLU is used as a straight line
_VALUE = _POINT / (1 + torch.tensor(-_POINT).exp().item())
_SLOPE = 1.08


@torch.no_grad()
def start_as_resampling(vae: Any) -> None:
    """Make an `AutoencoderKL` (one norm group) start as shrinking by area and growing linearly.

    The first three latent channels are the colours; the others start small and free.
    """
    _silence_residuals(vae)
    width = vae.encoder.conv_in.out_channels
    anchors = (width - 2, width - 1)
    latents = vae.config.latent_channels
    centre, box = torch.zeros(3, 3), torch.zeros(3, 3)
    centre[1, 1], box[:2, :2] = 1.0, 0.25
    tent = torch.outer(torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.25, 0.5, 0.25]))
    for conv in (vae.encoder.conv_in, vae.decoder.conv_in):
        _pass(conv, centre, 3, anchors)
    for block in vae.encoder.down_blocks:
        for sampler in block.downsamplers or ():
            _pass(sampler.conv, box, 3, anchors)
    for block in vae.decoder.up_blocks:
        for sampler in block.upsamplers or ():
            _pass(sampler.conv, tent, 3, anchors)
    for half in (vae.encoder, vae.decoder):
        share = (2 / half.conv_norm_out.num_channels) ** 0.5  # both anchors in one group of all
        _read(half.conv_norm_out, half.conv_out, list(range(3)), _ANCHOR * share, torch.ones(3))
    eye = torch.eye(latents)[:, :, None, None]
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:latents, :latents] = eye
    vae.quant_conv.bias.zero_()
    vae.quant_conv.bias[latents:] = -6.0  # log variance: noise well below the signal
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
        if name.endswith((".conv2", ".to_out.0")):
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
