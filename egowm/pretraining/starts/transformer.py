"""The closed form for a Cosmos transformer: "every frame is the context".

The layer norms would wipe out a token's level; two "anchor" channels of constant +A and -A fix
their variance. The first block writes the anchors, the second fetches the token of the context at
the same place: its query and key are constants, so that after the rotary embedding their product
depends on the distance alone, and a part of the key says whether a token is of the context.
"""

from typing import Any

import torch
from torch import Tensor

_ANCHOR = 20.0
_SHARPNESS = 12.0  # of the attention to the same place; a neighbour gets about 0.4%
_MARK = 4.0  # of the context's tokens
_CONSTANT_FREQUENCIES = 8  # slowest cosines of the time embedding, which hardly move in [0, 1]


@torch.no_grad()
def start_transformer_as_copy(network: Any) -> None:
    """Make a `CosmosTransformer3DModel` start as x_t - context, the velocity at high noise of
    frames that are all like the context.

    The patch embedding sees the condition mask as its last channel but one (the last is the padding
    mask). Needs two blocks, four channels more than two tokens' latents, and a rotary embedding
    with two frequencies along each side; ValueError for less.
    """
    config = network.config
    width = config.num_attention_heads * config.attention_head_dim
    area = config.patch_size[1] * config.patch_size[2]
    values = config.out_channels * area
    if config.patch_size[0] != 1 or len(network.transformer_blocks) < 2 or width < 2 * values + 4:
        raise ValueError(
            f"Expected patches of one frame, at least 2 blocks and {2 * values + 4} channels, got "
            f"patches {tuple(config.patch_size)}, {len(network.transformer_blocks)} and {width}."
        )
    own, copied = slice(0, values), slice(values, 2 * values)
    mark, plus, minus, constant = range(2 * values, 2 * values + 4)
    _embed_patches(network.patch_embed.proj.weight, config, own, mark, constant)
    network.time_embed.t_embedder.linear_2.weight.zero_()
    for block in network.transformer_blocks:
        for norm in (block.norm1, block.norm2, block.norm3):
            _constant_modulation(norm, gate=1.0)
        for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
            layer.weight.zero_()
    _constant_modulation(network.norm_out)
    first, second = network.transformer_blocks[:2]
    for block in (first, second):
        _replace_by_one(block.norm1, constant)
    first.attn1.to_v.weight[0] = _unit(width, constant)
    first.attn1.to_out[0].weight[[plus, minus], 0] = torch.tensor([_ANCHOR, -_ANCHOR])
    length = ((2 * _ANCHOR**2 + values) / width) ** 0.5  # what the second block's norm divides by
    _attend_to_context(second.attn1, network.rope, values, length, mark, constant)
    second.attn1.to_v.weight[:values] = 0
    second.attn1.to_v.weight[:values, own] = length * torch.eye(values)
    second.attn1.to_out[0].weight[copied, :values] = torch.eye(values)
    length = ((2 * _ANCHOR**2 + 2 * values) / width) ** 0.5
    network.proj_out.weight.zero_()
    network.proj_out.weight[:, own] = length * torch.eye(values)
    network.proj_out.weight[:, copied] = -length * torch.eye(values)


def _unit(width: int, channel: int) -> Tensor:
    row = torch.zeros(width)
    row[channel] = 1.0
    return row


def _embed_patches(weight: Tensor, config: Any, own: slice, mark: int, constant: int) -> None:
    """A token's latents in the order in which the output has them (pixel, then channel), then the
    mark; the channel of the constant stays empty. `weight`: (C, channels x pixels)."""
    area, channels = config.patch_size[1] * config.patch_size[2], config.out_channels
    weight[: constant + 1] = 0
    for pixel in range(area):
        for channel in range(channels):
            weight[own][pixel * channels + channel, channel * area + pixel] = 1.0
    condition = config.in_channels - 1
    weight[mark, condition * area : (condition + 1) * area] = _MARK / area


def _constant_modulation(norm: Any, gate: float | None = None) -> None:
    """No shift, no scale, this gate, at every time."""
    width = norm.linear_1.in_features
    cosine = torch.tensor(2.0).sqrt()  # of a slow frequency, after the root mean square norm
    share = 1 / (_CONSTANT_FREQUENCIES * cosine * cosine.sigmoid())
    norm.linear_1.weight[0] = 0  # its first output is 1
    norm.linear_1.weight[0, width // 2 - _CONSTANT_FREQUENCIES : width // 2] = share
    norm.linear_2.weight.zero_()
    if gate is not None:
        norm.linear_2.weight[-width:, 0] = gate


def _replace_by_one(norm: Any, channel: int) -> None:
    """What the layer sees in this channel is 1: shift 1 and scale -1."""
    width = norm.linear_2.out_features // 3
    norm.linear_2.weight[[channel, width + channel], 0] = torch.tensor([1.0, -1.0])


def _attend_to_context(
    attention: Any, rope: Any, values: int, length: float, mark: int, constant: int
) -> None:
    """As many heads as the values need look at the context's token at their own place."""
    size = attention.to_q.out_features // attention.heads
    if min(rope.dim_h, rope.dim_w) < 6:
        raise ValueError(f"Expected heads of at least 18 channels, got {size}.")
    down, along = rope.dim_t // 2, (rope.dim_t + rope.dim_h) // 2  # first frequencies
    still = along - 1  # the slowest one along the height
    places = [down, down + 1, along, along + 1]
    for norm in (attention.norm_q, attention.norm_k):
        norm.weight[[*places, still]] = (_SHARPNESS * (len(places) + 1) / size**0.5) ** 0.5
    for head in range(-(-values // size)):
        rows = [head * size + place for place in places]
        for layer in (attention.to_q, attention.to_k):
            layer.weight[head * size : (head + 1) * size] = 0
            layer.weight[rows, constant] = 1.0
        attention.to_q.weight[head * size + still, constant] = 1.0
        attention.to_k.weight[head * size + still, constant] = -1.0
        attention.to_k.weight[head * size + still, mark] = 2 * length / _MARK
