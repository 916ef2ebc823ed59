"""Compiled blocks: the same numbers as eager ones, inside and outside `inject`, with LoRA."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from egowm.backbones import SVD
from egowm.compilation import compile_blocks
from egowm.conditioning import inject
from egowm.data import Clip
from egowm.world_model import WorldModel


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _afresh():
    """No code compiled by one test serves another."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def clip(spec) -> Clip:
    """A batch of two, 4 future frames."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 5, 3, 16, 16), generator=generator).to(torch.uint8)
    actions = spec.denormalise(torch.rand(2, 4, 3, generator=generator) * 2 - 1)
    rest = torch.zeros(2, 0, 3), torch.zeros(2, 0), ["", ""], ["test"] * 2, ["a", "b"]
    return Clip(frames, actions, *rest)


def step(model: WorldModel, clip: Clip) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of one training step."""
    model.train().zero_grad()
    loss = model.loss(clip, torch.Generator().manual_seed(1))[0]
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("part", ["full", "lora"])
def test_the_compiled_step_is_the_eager_one(tiny_prior, spec, clip, part):
    """Also under gradient checkpointing."""
    options = {"train": part, "lora_rank": 4, "spec": spec, "gradient_checkpointing": True}
    torch.manual_seed(0)
    eager = WorldModel(SVD(str(tiny_prior)), **options)
    eager.configure_model()
    nn.init.normal_(eager.action_embedding.linear_2.weight, std=0.3)
    for name, parameter in eager.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.1)
    compiled = WorldModel(SVD(str(tiny_prior)), compile="aot_eager", **options)
    compiled.configure_model()
    compiled.load_state_dict(eager.state_dict())  # the names are the same
    expected, found = step(eager, clip), step(compiled, clip)
    assert counters["stats"]["unique_graphs"] > 5
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert len(found[1]) == len(expected[1])
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-4)
    assert not counters["graph_break"]


@pytest.mark.parametrize("plain_first", [True, False])
def test_every_embedding_is_seen(world_model, plain_first):
    """12 of them and plain calls, in both orders; nothing is compiled again after the first."""
    network = world_model.backbone.network.eval()
    eager = copy.deepcopy(network)
    assert compile_blocks(network, "aot_eager") == 19
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 4, 8, 8, 8, generator=generator)
    inputs = {"encoder_hidden_states": torch.randn(1, 1, 64, generator=generator)}
    inputs["added_time_ids"] = torch.rand(1, 3, generator=generator)
    embeddings = torch.randn(12, 1, 4, world_model.backbone.embedding_dim, generator=generator)

    @torch.no_grad()
    def call(which, embedding=None) -> torch.Tensor:
        if embedding is None:
            return which(noisy, torch.tensor(1.0), **inputs)[0]
        with inject(which, embedding):
            return which(noisy, torch.tensor(1.0), **inputs)[0]

    calls = [None, *embeddings] if plain_first else [*embeddings, None]
    found = [call(network, calls[0])]
    compiled = counters["stats"]["unique_graphs"]
    found += [call(network, embedding) for embedding in calls[1:]]
    expected = [call(eager, embedding) for embedding in calls]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert counters["stats"]["unique_graphs"] == compiled
    assert not counters["graph_break"]
    outputs = torch.stack(found)
    apart = (outputs[:, None] - outputs).abs().flatten(2).amax(2) + 10 * torch.eye(13)
    assert apart.min() > 1e-2  # 13 different outputs


def test_an_unknown_network_is_refused():
    with pytest.raises(TypeError, match="Do not know the blocks of Linear; known: UNetSpatio"):
        compile_blocks(nn.Linear(2, 2), "aot_eager")
