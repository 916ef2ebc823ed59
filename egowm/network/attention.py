"""Transformers whose tokens attend to each other and read others, side by side.

As MooG has them (arXiv 2411.05927, after ViT-22B): queries and keys are normalised, and the
self-attention and the cross-attention of a block see the same tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


class Heads(NamedTuple):
    """The attention of a transformer.

    number: of heads. width: channels of each. hidden: channels of the MLP between its two layers.
    """

    number: int
    width: int
    hidden: int


class Attention(nn.Module):
    """Multi-head attention of tokens (N, n, D) to what they read (N, m, E)."""

    def __init__(self, width: int, reads: int, heads: Heads) -> None:
        super().__init__()
        inner, self.heads = heads.number * heads.width, heads.number
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(reads, inner, bias=False)
        self.value = nn.Linear(reads, inner, bias=False)
        self.norm_query = nn.RMSNorm(heads.width, eps=EPS)
        self.norm_key = nn.RMSNorm(heads.width, eps=EPS)
        self.out = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        query, key = self.matched(tokens, read)
        found = F.scaled_dot_product_attention(query, key, self._split(self.value(read)))
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def matched(self, tokens: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised queries (N, heads, n, d) and keys (N, heads, m, d)."""
        query, key = self._split(self.query(tokens)), self._split(self.key(read))
        return self.norm_query(query), self.norm_key(key)

    def weights(self, tokens: Tensor, read: Tensor) -> Tensor:
        """How much each token looks at each that it reads, (N, n, m): the mean of the heads."""
        query, key = self.matched(tokens, read)
        return (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1).mean(1)

    def _split(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention to each other (where `own`) and to what is read (where `reads`), and an MLP."""

    def __init__(self, width: int, heads: Heads, own: bool, reads: int | None) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width, eps=EPS, bias=False)
        self.own = Attention(width, width, heads) if own else None
        self.cross = Attention(width, reads, heads) if reads is not None else None
        self.norm_mlp = nn.LayerNorm(width, eps=EPS, bias=False)
        self.enter = nn.Linear(width, heads.hidden)
        self.leave = nn.Linear(heads.hidden, width)

    def forward(self, tokens: Tensor, read: Tensor | None) -> Tensor:
        seen = self.norm_tokens(tokens)
        if self.own is not None:
            tokens = tokens + self.own(seen, seen)
        if self.cross is not None:
            assert read is not None
            tokens = tokens + self.cross(seen, read)
        hidden = F.gelu(self.enter(self.norm_mlp(tokens)), approximate="tanh")
        return tokens + self.leave(hidden)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Blocks of attention, and a normalisation after the last.

    Args:
        width: Channels D of a token.
        layers: Blocks.
        heads: Their attention.
        own: Whether tokens attend to each other.
        reads: Channels of what they read besides; None reads nothing.
    """

    def __init__(
        self, width: int, layers: int, heads: Heads, own: bool = True, reads: int | None = None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, own, reads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=EPS, bias=False)

    def forward(self, tokens: Tensor, read: Tensor | None = None) -> Tensor:
        """Tokens (N, n, D), of which each sees those of `read` (N, m, E)."""
        for block in self.blocks:
            tokens = block(tokens, read)
        return self.norm(tokens)  # type: ignore[no-any-return]

    def looks(self, tokens: Tensor, read: Tensor) -> Tensor:
        """How much each token looks at each that it reads, (N, n, m), rows of sum 1: the mean of
        all heads of all blocks."""
        found: list[Tensor] = []
        for block in self.blocks:
            found.append(block.cross.weights(block.norm_tokens(tokens), read))  # type: ignore[union-attr,operator,operator]
            tokens = block(tokens, read)
        return torch.stack(found).mean(0)


def fourier(places: Tensor, bases: int) -> Tensor:
    """Sines and cosines of places (..., 2) in [-1, 1], (..., 4 * bases): of pi, 2 pi, 4 pi ...
    times a place, first the sines of all, row before column.

    Args:
        places: Row and column of each.
        bases: Frequencies.
    """
    rates = torch.pi * 2.0 ** torch.arange(bases, device=places.device)
    angles = (rates[:, None] * places[..., None, :]).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], -1)


def grid(height: int, width: int) -> Tensor:
    """Places (H * W, 2) of pixels, row by row; the outermost lie at -1 and 1."""
    sides = (torch.linspace(-1, 1, side) for side in (height, width))
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, 1)
