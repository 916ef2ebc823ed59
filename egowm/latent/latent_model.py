"""A world model that predicts in a latent space of its own, without a decoder."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from egowm.actions import ActionSpec
from egowm.checks import checked
from egowm.clip import Clip
from egowm.conditioning.embedding import ActionEmbedding
from egowm.diffusion import Generator
from egowm.encoder import Encoder
from egowm.latent.base import LatentDynamics
from egowm.latent.straightening import (
    covariance_loss,
    invariance_loss,
    straightening_loss,
    straightness,
    variance_loss,
)
from egowm.network.convolutions import check_halvings
from egowm.pixels import to_unit


class Seen(NamedTuple):
    """The latents (N, c, h, w) of N futures."""

    latents: Tensor


class LatentModel(LatentDynamics):
    """Encoder, projector, and a predictor that follows actions; rollouts are latents alone.

    The loss is `|z^[t+1] - sg z[t+1]|^2`, with z^ predicted from z^ over the whole clip, plus
    straightening, and VICReg's variance and covariance against collapse. Plan with the distance to
    the goal's latent, `goal_cost(model, picture, goal)`.

    Args:
        encoder: Folder of a vision transformer in transformers' format (DINOv2, I-JEPA), which is
            frozen; null trains a convolutional encoder from scratch.
        channels: Channels c of the latents, after the projector.
        depth: Channels of the first layer of the encoder from scratch.
        hidden: Channels of the predictor.
        size: H and W of the frames; 8, 16, 32, ... for an encoder from scratch. A frozen one sees
            them at the nearest multiple of its patches.
        straightening: Weight of 1 - cosine of successive steps; 0 turns it off.
        invariance: Weight of `|z[t] - z[0]|^2 / D`, which straightening is compared with; 0 turns
            it off.
        variance: Weight of the variance term.
        covariance: Weight of the covariance term.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        spec: Meaning of each action; null takes it from the data.

    >>> spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
    >>> model = LatentModel(depth=4, hidden=8, size=16, spec=spec)
    >>> model.configure_model()
    >>> made = model.rollout(torch.zeros(1, 1, 3, 16, 16), torch.zeros(2, 5, 1))
    >>> made.frames.shape, made.latents.shape
    (torch.Size([2, 0, 3, 16, 16]), torch.Size([2, 5, 8, 2, 2]))
    """

    makes_frames = False

    @checked
    def __init__(
        self,
        encoder: str | None = None,
        channels: int = 8,
        depth: int = 32,
        hidden: int = 64,
        size: int = 64,
        straightening: float = 0.0,
        invariance: float = 0.0,
        variance: float = 1.0,
        covariance: float = 0.04,
        learning_rate: float = 6e-4,
        warmup: int = 100,
        spec: ActionSpec | None = None,
    ) -> None:
        if encoder is None:
            check_halvings(size)
        super().__init__(size, 1, learning_rate, warmup, spec)
        if (
            min(channels, depth, hidden) < 1
            or min(straightening, invariance, variance, covariance) < 0
        ):
            raise ValueError(
                "Expected widths of at least 1, and weights of the terms of 0 or more."
            )
        self.encoder, self.channels, self.depth, self.hidden = encoder, channels, depth, hidden
        self.straightening, self.invariance = straightening, invariance
        self.variance, self.covariance = variance, covariance

    @property
    def base(self) -> str:
        """The folder of the frozen encoder; the class where there is none."""
        return self.encoder or self.name

    def about(self) -> dict[str, Any]:
        """The hash of the frozen encoder."""
        from egowm.backbones.base import weights_sha256

        return {"base_sha256": weights_sha256(Path(self.encoder)) if self.encoder else None}

    def build(self, width: int) -> None:
        if self.encoder is None:
            wide = 4 * self.depth
            self.network: nn.Module = _convolutions(self.depth)
        else:
            found = Encoder.from_pretrained(self.encoder)
            size = max(1, round(self.size / found.patch)) * found.patch
            self.network, wide = Encoder(found.network, size, found.mean, found.std), found.width
        self.projector = nn.Sequential(
            nn.Conv2d(wide, wide, 1), _norm(wide), nn.SiLU(), nn.Conv2d(wide, self.channels, 1)
        )
        self.predictor = Predictor(self.channels, self.hidden, width)

    def embed(self, frames: Tensor) -> Tensor:
        latents: Tensor = self.projector(self.network(frames))
        return latents

    def begin(self, embedded: Tensor, generator: Generator) -> Seen:
        return Seen(embedded[:, -1])

    def step(self, before: Seen, actions: Tensor, generator: Generator) -> Seen:
        return Seen(self.predictor(before.latents, actions))

    def latent(self, state: Seen) -> Tensor:
        return state.latents

    def decode(self, latents: Tensor) -> Tensor:
        return latents.new_zeros(0, 3, self.size, self.size)

    def reconstruct(self, clip: Clip) -> Tensor:
        raise ValueError(f"{self.name} has no decoder: it makes no frames.")

    def losses(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        real, made = self.both(clip)
        error = (made - real[:, 1:].detach()).square().mean()
        apart = real.flatten(0, 1).flatten(1).float()
        terms = {"prediction": error, "variance": variance_loss(apart)}
        terms |= {"covariance": covariance_loss(apart)}
        if real.shape[1] > 2:
            terms["straightness"] = straightness(real)
        elif self.straightening:
            raise ValueError(
                f"Straight paths take clips of at least 2 future frames, got "
                f"{made.shape[1]}: set --data.window.horizon, or --model.straightening 0."
            )
        total = error + self.variance * terms["variance"] + self.covariance * terms["covariance"]
        if self.straightening:
            total = total + self.straightening * straightening_loss(real)
        if self.invariance:
            total = total + self.invariance * invariance_loss(real)
        return total, {name: term.detach() for name, term in terms.items()}

    def both(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Latents of the last context frame and the future (B, 1+T, c, h, w), and of the future as
        predicted from that frame (B, T, c, h, w)."""
        frames = to_unit(clip.frames[:, -1 - clip.actions.shape[1] :].to(self.device))
        real = self.embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        told = self.spec_of(self.source_of(clip)).normalise(clip.actions.to(self.device))
        state, made = real[:, 0], []
        for action in told.unbind(1):
            state = self.predictor(state, action)
            made.append(state)
        return real, torch.stack(made, 1)

    @torch.no_grad()
    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """Mean squared error of the predicted latents."""
        real, made = self.both(clip)
        return (made - real[:, 1:]).square().mean()


class Predictor(nn.Module):
    """The latents (N, c, h, w) after actions (N, A): their change, by convolutions that know where
    in the frame they are."""

    def __init__(self, channels: int, hidden: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels + 2, hidden, 3, padding=1)
        self.action = ActionEmbedding(width, hidden, zero_init=False)
        self.layers = nn.Sequential(
            _norm(hidden), nn.SiLU(), nn.Conv2d(hidden, hidden, 3, padding=1),
            _norm(hidden), nn.SiLU(), nn.Conv2d(hidden, hidden, 3, padding=1),
            _norm(hidden), nn.SiLU(), nn.Conv2d(hidden, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        ends = [torch.linspace(-1, 1, n, device=latents.device) for n in latents.shape[-2:]]
        places = torch.stack(torch.meshgrid(*ends, indexing="ij")).to(latents)
        known = torch.cat([latents, places.expand(len(latents), -1, -1, -1)], 1)
        hidden = self.enter(known) + self.action(actions)[:, :, None, None]
        change: Tensor = self.layers(hidden)
        return latents + change


def _convolutions(depth: int) -> nn.Sequential:
    """Frames (N, 3, H, W) in [0, 1] to (N, 4 * depth, H / 8, W / 8)."""
    layers: list[nn.Module] = []
    for before, after in ((3, depth), (depth, 2 * depth), (2 * depth, 4 * depth)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), _norm(after), nn.SiLU()]
    return nn.Sequential(*layers)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(next(n for n in (8, 4, 2, 1) if channels % n == 0), channels)
