"""What frozen MooG tokens say: numbers for each pixel, such as depth, and points that are followed.

Both are of the paper (arXiv 2411.05927), smaller; pixels themselves are read by MooG's own decoder.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egowm.checks import MOST_SEED, check_between, check_float, check_shape, checked
from egowm.encoders.probes import check_moderate
from egowm.network.attention import Heads, Transformer, fourier, grid

MOST = 10**6


class Followed(NamedTuple):
    """Points in F frames.

    places: (B, F, Q, 2), rows and columns, in [-1, 1] from edge to edge. visible: (B, F, Q),
    logits.

    >>> Followed(torch.zeros(1, 5, 3, 2), torch.zeros(1, 5, 3)).places.shape
    torch.Size([1, 5, 3, 2])
    """

    places: Tensor
    visible: Tensor


@checked
class DenseReadout(nn.Module):
    """Numbers for each pixel, by attention from its place to the tokens of its frame.

    Args:
        width: Channels D of a token.
        out: Numbers for a pixel.
        layers: Blocks of attention.
        heads: Attention heads, of 16 channels each.
        bases: Frequencies of the pixels' places.

    >>> DenseReadout(8).picture(torch.zeros(1, 4, 8), 6, 5).shape
    torch.Size([1, 1, 6, 5])
    """

    def __init__(
        self, width: int, out: int = 1, layers: int = 2, heads: int = 4, bases: int = 6
    ) -> None:
        super().__init__()
        _check_sizes(width=width, out=out, layers=layers, heads=heads, bases=bases)
        self.bases, inner = bases, 4 * bases
        self.norm = nn.LayerNorm(width)
        shape = Heads(heads, 16, 4 * inner)
        self.transformer = Transformer(inner, layers, shape, own=False, reads=width)
        self.out = nn.Linear(inner, out)
        self.register_buffer("mean", torch.zeros(out))
        self.register_buffer("scale", torch.ones(out))

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Numbers (N, Q, out), in the unit of those that it was fitted to.

        Args:
            tokens: (N, M, D), of one frame each.
            places: (N, Q, 2), rows and columns in [-1, 1].
        """
        check_shape("tokens", tokens, "N M D", D=len(self.norm.weight))
        check_shape("places", places, "N Q 2", N=len(tokens))
        tokens, places = (_of(self.norm, x) for x in (tokens, places))
        made = self.transformer(fourier(places, self.bases), self.norm(tokens))
        return self.out(made) * self.scale + self.mean  # type: ignore[no-any-return,operator]

    def picture(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Numbers (N, out, H, W) of all pixels.

        Args:
            tokens: (N, M, D), of one frame each.
            height: H.
            width: W.
        """
        check_shape("tokens", tokens, "N M D")
        check_between("height", height, 1, 8192)
        check_between("width", width, 1, 8192)
        places = grid(height, width).to(tokens).expand(len(tokens), -1, -1)
        return self(tokens, places).mT.unflatten(2, (height, width))  # type: ignore[no-any-return]


@checked
class PointReadout(nn.Module):
    """Where points of the first frame are in the later ones: the state of each point reads the
    tokens of frame after frame.

    Args:
        width: Channels D of a token.
        state: Channels of a point's state.
        layers: Blocks of attention.
        heads: Attention heads, of 16 channels each.
        bases: Frequencies of a point's place.

    >>> found = PointReadout(8)(torch.zeros(1, 5, 4, 8), torch.zeros(1, 3, 2))
    >>> found.places.shape, found.visible.shape
    (torch.Size([1, 5, 3, 2]), torch.Size([1, 5, 3]))
    """

    def __init__(
        self, width: int, state: int = 64, layers: int = 2, heads: int = 4, bases: int = 6
    ) -> None:
        super().__init__()
        _check_sizes(width=width, state=state, layers=layers, heads=heads, bases=bases)
        self.bases = bases
        self.norm = nn.LayerNorm(width)
        self.begin = _mlp(4 * bases, state, state)
        shape = Heads(heads, 16, 4 * state)
        self.corrector = Transformer(state, layers, shape, own=False, reads=width)
        self.predictor = _mlp(state, state, state)
        self.norm_state = nn.LayerNorm(state)
        self.place, self.visible = _mlp(state, state, 2), _mlp(state, state, 1)

    def forward(self, tokens: Tensor, points: Tensor) -> Followed:
        """Places and visibility in all frames.

        Args:
            tokens: (B, F, M, D).
            points: (B, Q, 2), rows and columns in the first frame, in [-1, 1].
        """
        check_shape("tokens", tokens, "B F M D", D=len(self.norm.weight))
        check_shape("points", points, "B Q 2", B=len(tokens))
        tokens, points = (_of(self.norm, x) for x in (tokens, points))
        state, seen = self.begin(fourier(points, self.bases)), []
        for read in self.norm(tokens).unbind(1):
            corrected = state + self.corrector(state, read)
            seen.append(corrected)
            state = self.norm_state(corrected + self.predictor(corrected))
        states = torch.stack(seen, 1)
        return Followed(2 * self.place(states).sigmoid() - 1, self.visible(states)[..., 0])


@checked
def fit_dense(
    readout: DenseReadout,
    tokens: Tensor,
    values: Tensor,
    steps: int = 500,
    batch: int = 8,
    pixels: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> float:
    """Train a read-out on frozen tokens by the squared error, at random pixels; gives the mean loss
    of the last tenth of the steps, in units of the values' variance.

    Args:
        readout: Is trained in place.
        tokens: (N, M, D), of one frame each.
        values: (N, out, H, W), for instance depths in metres.
        steps: Optimizer steps.
        batch: Frames a step.
        pixels: Pixels of each of them.
        learning_rate: AdamW's highest.
        seed: Of the order of frames and pixels.

    Raises:
        ValueError: Values of other frames, or that are not finite.

    >>> readout, tokens = DenseReadout(8), torch.rand(2, 4, 8)
    >>> loss = fit_dense(readout, tokens, torch.full((2, 1, 6, 6), 3.0), steps=1)  # of one depth
    >>> round(readout.picture(tokens, 6, 6).mean().item(), 3)
    3.0
    """
    check_shape("tokens", tokens, "N M D")
    check_shape("values", values, "N out H W", N=len(tokens), out=readout.out.out_features)
    for name, part in (("tokens", tokens), ("values", values)):
        check_float(name, part)
        check_moderate(name, part)
    check_between("pixels", pixels, 1, MOST)
    readout.mean.copy_(values.mean((0, 2, 3)))  # type: ignore[operator]
    readout.scale.copy_(values.std((0, 2, 3), correction=0).clamp(min=1e-6))  # type: ignore[operator]
    flat, places = values.flatten(2).mT, grid(*values.shape[-2:]).to(tokens)
    generator = _seeded(seed)

    def loss(here: Tensor) -> Tensor:
        drawn = torch.randint(len(places), (len(here), pixels), generator=generator)
        made = readout(tokens[here], places[drawn])
        wanted = flat[here[:, None], drawn]
        return ((made - wanted) / readout.scale).square().mean()  # type: ignore[no-any-return,operator]

    return _trained(readout, loss, len(tokens), steps, batch, learning_rate, generator)


@checked
def fit_points(
    readout: PointReadout,
    tokens: Tensor,
    places: Tensor,
    visible: Tensor,
    steps: int = 500,
    batch: int = 8,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> float:
    """Train a read-out of points on frozen tokens; gives the mean loss of the last tenth of the
    steps: the absolute error of places where a point is visible, and the cross-entropy of whether
    it is.

    Args:
        readout: Is trained in place.
        tokens: (B, F, M, D).
        places: (B, F, Q, 2), rows and columns in [-1, 1]; those of the first frame are asked.
        visible: (B, F, Q), 1 where the point is seen, else 0.
        steps: Optimizer steps.
        batch: Videos a step.
        learning_rate: AdamW's highest.
        seed: Of the order of videos.

    Raises:
        ValueError: Places of other videos, or that are not finite.

    >>> tokens, places, seen = torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 3, 2), torch.ones(1, 2, 3)
    >>> readout = PointReadout(8)
    >>> loss = fit_points(readout, tokens, places, seen, steps=1)
    >>> readout(tokens, places[:, 0]).places.shape
    torch.Size([1, 2, 3, 2])
    """
    check_shape("tokens", tokens, "B F M D")
    sizes = {"B": len(tokens), "F": tokens.shape[1]}
    check_shape("places", places, "B F Q 2", **sizes)
    check_shape("visible", visible, "B F Q", Q=places.shape[2], **sizes)
    seen = visible.to(places)
    for name, part in (("tokens", tokens), ("places", places), ("visible", seen)):
        check_float(name, part)
        check_moderate(name, part)
    generator = _seeded(seed)

    def loss(here: Tensor) -> Tensor:
        found = readout(tokens[here], places[here, 0])
        off = (found.places - places[here]).abs().sum(-1)
        located = (off * seen[here]).sum() / seen[here].sum().clamp(min=1)
        return located + F.binary_cross_entropy_with_logits(found.visible, seen[here])  # type: ignore[no-any-return]

    return _trained(readout, loss, len(tokens), steps, batch, learning_rate, generator)


def _trained(
    readout: nn.Module,
    loss: Callable[[Tensor], Tensor],
    count: int,
    steps: int,
    batch: int,
    learning_rate: float,
    generator: torch.Generator,
) -> float:
    """AdamW, whose rate falls to 0 along a cosine; the mean loss of the last tenth of the steps."""
    check_between("steps", steps, 1, MOST)
    check_between("batch", batch, 1, MOST)
    check_between("learning_rate", learning_rate, 0, 1)
    optimizer = torch.optim.AdamW(readout.parameters(), learning_rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    found: list[float] = []
    for _ in range(steps):
        total = loss(torch.randint(count, (batch,), generator=generator))
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(readout.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        found.append(total.item())
    last = found[-max(1, steps // 10) :]
    return sum(last) / len(last)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check_between(name, size, 1, 1024 if name in ("layers", "heads", "bases") else 8192)


def _of(norm: nn.LayerNorm, values: Tensor) -> Tensor:
    """Fractions in the precision of a read-out, on its device."""
    check_float("tokens and places", values)
    return values.to(norm.weight)


def _seeded(seed: int) -> torch.Generator:
    check_between("seed", seed, -MOST_SEED, MOST_SEED)
    return torch.Generator().manual_seed(seed)


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))
