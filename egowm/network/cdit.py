"""NWM's conditional diffusion transformer (CDiT, arXiv 2412.03572), from the paper's description.

Each target frame attends to itself alone; the context is only read, by cross-attention, so the cost
of a step is linear in the number of context frames.
"""

from typing import ClassVar

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import (
    TimestepEmbedding,
    get_2d_sincos_pos_embed,
    get_timestep_embedding,
)
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.functional import layer_norm, silu

FREQUENCIES = 256  # channels of a time before its embedding
MODULATIONS = 11  # of a block: 3 of self-attention, 5 of cross-attention, 3 of the MLP


def modulated(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normed tokens (N, n, D), scaled and shifted by (N, 1, D)."""
    return layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift


class CDiTBlock(nn.Module):
    """Self-attention in one target frame, cross-attention to the context, MLP; each modulated by
    the embedding of time, jump and action, and added through a gate (adaLN-zero)."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        each = width // num_heads
        self.attn1 = Attention(width, None, num_heads, dim_head=each, bias=True)
        self.attn2 = Attention(width, width, num_heads, dim_head=each, bias=True)
        self.ff = FeedForward(width, mult=mlp_ratio, activation_fn="gelu-approximate")
        self.modulation = nn.Linear(width, MODULATIONS * width)

    def forward(self, tokens: Tensor, context: Tensor, embedding: Tensor) -> Tensor:
        """tokens (N, n, D) of target frames, context (N, K n, D), embedding (N, D)."""
        parts = self.modulation(silu(embedding))[:, None].chunk(MODULATIONS, -1)
        own, cross, given, mlp = parts[:2], parts[3:5], parts[5:7], parts[8:10]
        tokens = tokens + parts[2] * self.attn1(modulated(tokens, *own))
        read = self.attn2(modulated(tokens, *cross), modulated(context, *given))
        tokens = tokens + parts[7] * read
        added: Tensor = parts[10] * self.ff(modulated(tokens, *mlp))
        return tokens + added


class CDiTTransformer2DModel(ModelMixin, ConfigMixin):
    """The noise in target frames, and the spread of a denoising step, given some context frames.

    Positions and the ages of context frames are sinusoidal: frames of any size and number go.

    Args:
        in_channels: Channels c of a latent frame.
        patch_size: Latents per token along each side.
        num_layers: Number of blocks.
        hidden_size: Width D of a token, a multiple of 4 and of the heads.
        num_attention_heads: Heads of each attention.
        mlp_ratio: Width of the MLP, in widths of a token.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules: ClassVar = ["CDiTBlock"]

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        patch_size: int = 2,
        num_layers: int = 12,
        hidden_size: int = 384,
        num_attention_heads: int = 6,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        if hidden_size % num_attention_heads or hidden_size % 4:
            raise ValueError(
                f"Expected a hidden_size that 4 and num_attention_heads={num_attention_heads} "
                f"divide, got {hidden_size}."
            )
        self.patch_embed = nn.Conv2d(in_channels, hidden_size, patch_size, patch_size)
        self.time_embed = TimestepEmbedding(FREQUENCIES, hidden_size)
        self.jump_embed = TimestepEmbedding(FREQUENCIES, hidden_size)
        sizes = hidden_size, num_attention_heads, mlp_ratio
        self.blocks = nn.ModuleList(CDiTBlock(*sizes) for _ in range(num_layers))
        self.modulation_out = nn.Linear(hidden_size, 2 * hidden_size)
        self.proj_out = nn.Linear(hidden_size, 2 * in_channels * patch_size**2)
        self.gradient_checkpointing = False
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear):  # a block starts as nothing added, the output as 0
                zero = "modulation" in name or name == "proj_out"
                (nn.init.zeros_ if zero else nn.init.xavier_uniform_)(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self, sample: Tensor, timestep: Tensor, context: Tensor, context_stride: int = 1
    ) -> tuple[Tensor]:
        """Noise and spread (B, t, 2c, h, w).

        Args:
            sample: (B, t, c, h, w), the noisy target frames; frame j lies j + 1 frames after the
                context's last, and knows of no other.
            timestep: (B,) in training steps.
            context: (B, K, c, h, w), clean.
            context_stride: How many frames lie between two of the context, the later one counted.
        """
        size, (rows, columns) = self.config.patch_size, sample.shape[-2:]
        tokens, given = self._tokens(sample).flatten(0, 1), self._tokens(context)
        ages = 1 + context_stride * torch.arange(given.shape[1] - 1, -1, -1, device=sample.device)
        given = given + get_timestep_embedding(ages, given.shape[-1]).to(given.dtype)[:, None]
        given = given.flatten(1, 2).repeat_interleave(sample.shape[1], 0)
        embedding = self._embedding(timestep, sample)
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                tokens = self._gradient_checkpointing_func(block, tokens, given, embedding)
            else:
                tokens = block(tokens, given, embedding)
        ends = self.modulation_out(silu(embedding))[:, None].chunk(2, -1)
        output = self.proj_out(modulated(tokens, *ends)).transpose(1, 2)
        output = output.unflatten(-1, (rows // size, columns // size))
        frames = nn.functional.pixel_shuffle(output, size)
        return (frames.unflatten(0, sample.shape[:2]),)

    def _tokens(self, latents: Tensor) -> Tensor:
        """(B, K, c, h, w) to (B, K, n, D), with the place of each in its frame."""
        made = self.patch_embed(latents.flatten(0, 1))
        place = get_2d_sincos_pos_embed(made.shape[1], tuple(made.shape[-2:]), device=made.device)
        tokens = made.flatten(2).transpose(1, 2) + place.to(made.dtype)
        return tokens.unflatten(0, latents.shape[:2])

    def _embedding(self, timestep: Tensor, sample: Tensor) -> Tensor:
        """Of time and jump (B*t, D); an action's is added to the output of `time_embed`."""
        count, num_frames = sample.shape[:2]
        jumps = torch.arange(1, num_frames + 1, device=sample.device)
        times = timestep.expand(count).repeat_interleave(num_frames)
        time, jump = (
            get_timestep_embedding(x, FREQUENCIES, flip_sin_to_cos=True).to(sample.dtype)
            for x in (times, jumps.repeat(count))
        )
        embedding: Tensor = self.time_embed(time) + self.jump_embed(jump)
        return embedding
