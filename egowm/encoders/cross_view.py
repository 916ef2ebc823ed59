"""The decoder that completes one view from another: self-attention, cross-attention, perceptron."""

import torch
from torch import Tensor, nn

from egowm.encoders.positions import sine_cosine


class Decoder(nn.Module):
    """From features of a source and of a target's visible patches to all patches of the target.

    Args:
        width: Channels of the features.
        narrow: Channels inside.
        layers: Layers.
        heads: Attention heads.
        side: Patches along a side.
        out: Channels of what is made of each patch.
    """

    def __init__(
        self, width: int, narrow: int, layers: int, heads: int, side: int, out: int
    ) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(width, narrow), nn.Linear(narrow, out)
        self.token = nn.Parameter(0.02 * torch.randn(narrow))
        self.blocks = nn.ModuleList(Block(narrow, heads) for _ in range(layers))
        self.known, self.norm = nn.LayerNorm(narrow), nn.LayerNorm(narrow)
        self.register_buffer("places", sine_cosine(narrow, side), persistent=False)
        self.places: Tensor

    def forward(
        self, source: Tensor, target: Tensor, seen: Tensor, maps: list[Tensor] | None = None
    ) -> Tensor:
        """Patches (P, N, out) of the target.

        source: (P, N, width). target: (P, Nv, width), its visible patches. seen: (P, Nv), their
        numbers. maps: takes the cross-attention (P, N, N) of every layer, averaged over heads.
        """
        known = self.known(self.enter(source) + self.places)
        start = self.token.expand(len(target), len(self.places), -1)
        index = seen[..., None].expand(-1, -1, start.shape[-1])
        hidden = start.scatter(1, index, self.enter(target)) + self.places
        for block in self.blocks:
            hidden, attention = block(hidden, known, maps is not None)
            if maps is not None:
                maps.append(attention)
        return self.leave(self.norm(hidden))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Self-attention, cross-attention to the source, and a perceptron; normalised before each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.across = nn.MultiheadAttention(width, heads, batch_first=True)
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor, source: Tensor, maps: bool) -> tuple[Tensor, Tensor | None]:
        seen = self.norms[0](hidden)
        hidden = hidden + self.own(seen, seen, seen, need_weights=False)[0]
        found, attention = self.across(self.norms[1](hidden), source, source, need_weights=maps)
        hidden = hidden + found
        return hidden + self.think(self.norms[2](hidden)), attention
