"""MooG's network: tokens that are not bound to places of the picture, carried from frame to frame.

From the paper (van Steenkiste, Zoran et al. 2024, "Moving Off-the-Grid", arXiv 2411.05927).
"""

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egowm.checks import check_between, counted
from egowm.network.attention import Heads, Transformer, fourier, grid

Tokens = Literal["off_grid", "grid", "recurrent_grid"]
Layout = Literal["paper", "ego4d"]
COUNTED = {  # arguments that have a number for each part
    "layers": ("predictor", "corrector", "decoder"),
    "heads": ("predictor", "corrector", "decoder"),
    "bases": ("features", "pixels"),
}
NOISE, EPS, MOST = 1e-4, 1e-4, 65_536  # EPS: of the tokens' normalisation


class Unrolled(NamedTuple):
    """Tokens of F frames.

    predicted: (B, F, K, D), from which a frame is decoded; they come of the frames before it.
    corrected: (B, F, K, D), after the frame was seen.
    """

    predicted: Tensor
    corrected: Tensor


class OffGrid(nn.Module):
    """Predictor, corrector and decoder of K tokens. Its arguments are those of
    `egowm.encoders.MooG`."""

    def __init__(
        self,
        size: int,
        tokens: Tokens,
        num_tokens: int,
        width: int,
        layers: tuple[int, int, int],
        heads: tuple[int, int, int],
        head_width: int,
        hidden: int,
        channels: Sequence[int],
        strides: Sequence[int],
        bases: tuple[int, int],
        layout: Layout,
    ) -> None:
        super().__init__()
        self.size, self.tokens, self.num_tokens, self.width = size, tokens, num_tokens, width
        self.layers, self.heads, self.head_width = tuple(layers), tuple(heads), head_width
        self.hidden, self.channels, self.strides = hidden, tuple(channels), tuple(strides)
        self.bases, self.layout = tuple(bases), layout
        self._check()
        side = size // prod(self.strides)
        attention = [Heads(count, head_width, hidden) for count in heads]
        joined, pixel = layout == "ego4d", width + 4 * bases[1]
        self.features = Features(channels, strides, bases[0], joined)
        self.predictor = Transformer(width, layers[0], attention[0])
        reads = self.features.width if tokens == "off_grid" else None
        self.corrector = Transformer(width, layers[1], attention[1], reads=reads)
        self.norm = nn.LayerNorm(width, eps=EPS, bias=False)
        self.decoder = Transformer(pixel, layers[2], attention[2], own=joined, reads=width)
        self.colour = nn.Linear(pixel, 3)
        if tokens != "off_grid":
            step = round(side / num_tokens**0.5)
            self.enter = nn.Conv2d(self.features.width, width, step, step)
        self.register_buffer("places", grid(size, size), persistent=False)
        self.apply(_begin)

    def _check(self) -> None:
        """Refuse what cannot be built."""
        check_between("size", self.size, 8, 8192)
        for name in ("num_tokens", "width", "head_width", "hidden"):
            check_between(name, getattr(self, name), 1, MOST)
        for name, parts in COUNTED.items():
            if len(found := getattr(self, name)) != len(parts):
                raise ValueError(
                    f"Expected {name} of {', '.join(parts)}, in this order, got {found}."
                )
        for name in (*COUNTED, "channels", "strides"):
            for number in getattr(self, name):
                check_between(f"each of {name}", number, 1, 32 if name == "bases" else MOST)
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ValueError(
                f"Expected a stride for each convolution, got channels of "
                f"{counted(len(self.channels), 'convolution')} and "
                f"{counted(len(self.strides), 'stride')}."
            )
        if self.size % (stride := prod(self.strides)):
            raise ValueError(
                f"Expected a size that the strides divide, {stride} in all, got {self.size}."
            )
        if self.layout not in get_args(Layout) or self.tokens not in get_args(Tokens):
            raise ValueError(f"Unknown layout {self.layout!r} or tokens {self.tokens!r}.")
        side, root = self.size // stride, round(self.num_tokens**0.5)
        if self.tokens != "off_grid" and (root**2 != self.num_tokens or side % root):
            raise ValueError(
                f"Expected tokens on a square grid whose side divides that of the features, "
                f"{side}, got num_tokens {self.num_tokens}."
            )

    # One frame ------------------------------------------------------------------------------------

    def start(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Tokens (B, K, D) before anything is seen: noise of deviation 1e-4.

        Args:
            count: B.
            generator: On the CPU; None takes torch's own.
        """
        drawn = torch.randn(count, self.num_tokens, self.width, generator=generator)
        noise = NOISE * drawn.to(self.norm.weight)
        return noise if self.layout == "ego4d" else self.norm(noise)  # type: ignore[no-any-return]

    def predict(self, state: Tensor) -> Tensor:
        """Tokens (B, K, D) of the next frame, before it is seen."""
        if self.layout == "ego4d":
            state = self.norm(state)
        return state + self.predictor(state)  # type: ignore[no-any-return]

    def correct(self, predicted: Tensor, features: Tensor) -> Tensor:
        """Tokens (B, K, D) after the features (B, P, C) of a frame were seen."""
        if self.tokens == "off_grid":
            state = predicted + self.corrector(predicted, features)
        else:
            side = round(features.shape[1] ** 0.5)
            seen = self.enter(features.mT.unflatten(2, (side, side))).flatten(2).mT
            known = predicted if self.tokens == "recurrent_grid" else torch.zeros_like(predicted)
            state = known + self.corrector(known + seen)
        return state if self.layout == "ego4d" else self.norm(state)  # type: ignore[no-any-return]

    # Videos ---------------------------------------------------------------------------------------

    def unroll(self, frames: Tensor, state: Tensor) -> Unrolled:
        """The tokens of videos, frame after frame.

        Args:
            frames: (B, F, 3, H, W) in [0, 1], of its size.
            state: (B, K, D), before the first frame.
        """
        predicted, corrected = [], []
        for features in (
            self.features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).unbind(1)
        ):
            ahead = self.predict(state)
            predicted.append(state if self.layout == "ego4d" else ahead)
            state = self.correct(ahead, features)
            corrected.append(state)
        return Unrolled(torch.stack(predicted, 1), torch.stack(corrected, 1))

    def decode(self, tokens: Tensor, places: Tensor | None = None) -> Tensor:
        """Colours (N, Q, 3) that the tokens (N, K, D) give to places; [0, 1] where it is trained.

        Args:
            tokens: (N, K, D).
            places: (N, Q, 2), rows and columns in [-1, 1]; None takes all pixels, row by row.
        """
        return self.colour(self.decoder(self._asking(tokens, places), tokens))  # type: ignore[no-any-return]

    def picture(self, tokens: Tensor) -> Tensor:
        """The frames (N, 3, H, W) that tokens (N, K, D) show, in [0, 1]."""
        made = self.decode(tokens).clamp(0, 1)
        return made.mT.unflatten(2, (self.size, self.size))

    def looks(self, tokens: Tensor, places: Tensor | None = None) -> Tensor:
        """How much each place looks at each token when it is decoded, (N, Q, K), rows of sum 1.

        Args:
            tokens: (N, K, D).
            places: As in `decode`.
        """
        return self.decoder.looks(self._asking(tokens, places), tokens)

    def _asking(self, tokens: Tensor, places: Tensor | None) -> Tensor:
        if places is None:
            places = self.places.expand(len(tokens), -1, -1)  # type: ignore[operator,union-attr]
        return F.pad(fourier(places, self.bases[1]), (self.width, 0))


class Features(nn.Module):
    """Convolutions of frames (N, 3, H, W), with the place of each feature: (N, P, C).

    Args:
        channels: Of each convolution.
        strides: Of each convolution.
        bases: Frequencies of the places.
        joined: Join places to the channels, in place of adding a projection of them.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[int], bases: int, joined: bool
    ) -> None:
        super().__init__()
        before, wide = [3, *channels[:-1]], channels[-1]
        each = zip(before, channels, strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, s) for a, b, s in each)
        self.norm_maps = nn.LayerNorm(wide, eps=EPS / 100, bias=False)
        self.bases, self.width = bases, wide + 4 * bases * joined
        self.place = None if joined else nn.Linear(4 * bases, wide)
        self.enter = nn.Linear(self.width, wide)
        self.norm = nn.LayerNorm(wide, eps=EPS / 100, bias=False)
        self.leave = nn.Linear(wide, self.width) if joined else None

    def forward(self, frames: Tensor) -> Tensor:
        for number, layer in enumerate(self.convolutions):
            if number:
                frames = F.gelu(frames, approximate="tanh")
            first = 1 if layer.stride == (1, 1) else 0  # as TensorFlow and JAX pad even sizes
            frames = layer(F.pad(frames, (first, 1, first, 1)))
        maps = self.norm_maps(frames.flatten(2).mT)
        where = fourier(grid(*frames.shape[-2:]).to(maps), self.bases)
        if self.place is None:
            maps = torch.cat([maps, where.expand(len(maps), -1, -1)], -1)
        else:
            maps = maps + self.place(where)
        found = self.norm(self.enter(maps))
        return found if self.leave is None else self.leave(found)  # type: ignore[no-any-return]


def _begin(module: nn.Module) -> None:
    """Weights of variance 1 / inputs and no bias, as Flax begins (LeCun)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
