"""A backbone that somebody else writes: a class outside the package, from nothing or from Wan."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from egowm.backbones import Backbone, Codec, Condition, Wan
from egowm.clip import Clip
from egowm.diffusion import FlowMatching
from egowm.sampling import Sampling
from egowm.world_model import WorldModel


def check_even(height: int, width: int) -> None:
    if height % 2 or width % 2:
        raise ValueError(f"Expected frames of an even size, got {height} x {width}.")


class Pooling(Codec):
    """Latents are pooled pixels."""

    def latents(self, frames: Tensor) -> Tensor:
        check_even(*frames.shape[-2:])
        pooled: Tensor = nn.functional.avg_pool2d(frames.flatten(0, 1), 2)
        return pooled.unflatten(0, frames.shape[:2])

    def decode(self, latents: Tensor) -> Tensor:
        return latents.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Pooled(Backbone):
    """The network is one convolution that an embedding is added into."""

    def __init__(self, pretrained: str) -> None:
        super().__init__()
        self.pretrained = pretrained

    context_latents = 0
    embedding_dim = 3
    fps = 4

    def load(self) -> None:
        if hasattr(self, "network"):
            return
        self.folder = Path(self.pretrained)
        torch.manual_seed(0)
        self.codec = Pooling()
        self.network = nn.Conv2d(6, 3, 3, padding=1)
        self.process = FlowMatching(lambda steps: torch.linspace(1, 0, steps + 1))

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"network": self.network}

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        check_even(height, width)
        return 3, height // 2, width // 2

    def condition(
        self,
        context: Tensor,
        noise_strength: Tensor,
        generator=None,
        known: Tensor | None = None,
        text: Sequence[str] = ("",),
        num_frames: int = 0,
        codec: Codec | None = None,
    ) -> Condition:
        latents = self.codec.encode(context)[:, -1].expand(len(noise_strength), -1, -1, -1)
        return Condition(latents=latents)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        given = condition.latents[:, None].expand_as(noisy)
        output = self.network(torch.cat([noisy, given], 2).flatten(0, 1))
        return self.process.denoised(output.unflatten(0, noisy.shape[:2]), noisy, sigma)

    @contextmanager
    def injecting(self, embedding: Tensor) -> Iterator[nn.Module]:
        flat = embedding.flatten(0, 1)[:, :, None, None]
        handle = self.network.register_forward_hook(lambda module, args, output: output + flat)
        yield self.network
        handle.remove()


class LouderWan(Wan):
    """Wan with twice the effect of actions."""

    def injecting(self, embedding: Tensor):
        return super().injecting(2 * embedding)


def rollout(model: WorldModel, horizon: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(1, 1, 3, size, size, generator=generator)
    actions = torch.rand(1, horizon, 3, generator=generator) * 0.2 - 0.1
    return model.rollout(frames, actions, Sampling(steps=2), generator=generator).frames


@pytest.mark.parametrize("kind", [Pooled, LouderWan])
def test_it_trains_imagines_and_is_exported(kind, tiny, spec, tmp_path):
    base, size, horizon = (tmp_path / "base", 8, 5) if kind is Pooled else (tiny("wan2.2"), 32, 8)
    base.mkdir(exist_ok=True)
    model = WorldModel(kind(str(base)), chunk=horizon, spec=spec)
    model.configure_model()
    nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3)
    frames = torch.randint(0, 256, (2, 1 + horizon, 3, size, size)).byte()
    actions, none = torch.rand(2, horizon, 3) * 0.2 - 0.1, torch.zeros(2, 0)
    clip = Clip(frames, actions, none[:, None], none, *[[""] * 2] * 3)
    model.loss(clip)[0].backward()
    assert all(p.grad is not None for p in model.backbone.network.parameters())
    assert model.action_embedding.linear_1.weight.grad.any()
    model.eval()
    found = rollout(model, horizon, size)
    assert found.shape == (1, horizon, 3, size, size)
    model.save_pretrained(tmp_path / "export")
    again = WorldModel.from_pretrained(tmp_path / "export")
    assert type(again.backbone) is kind
    assert torch.equal(rollout(again, horizon, size), found)


def test_a_subclass_decides_how_actions_enter(tiny, spec):
    found = []
    for kind in (Wan, LouderWan):
        model = WorldModel(kind(str(tiny("wan2.2"))), chunk=8, spec=spec)
        model.configure_model()
        nn.init.constant_(model.action_embedding.linear_2.weight, 0.01)
        found.append(rollout(model.eval(), 8, 32))
    assert (found[0] - found[1]).abs().max() > 1e-3
