"""Compiled blocks: the same numbers as eager ones, inside and outside `injecting`, with LoRA."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import egowm.backbones
from egowm.backbones import SVD, Backbone
from egowm.data import Clip
from egowm.network.compilation import compile_blocks
from egowm.world_model import WorldModel
from tests.backbones.conftest import FAMILIES

BLOCKS = {"svd": 19, "predict2": 2}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _afresh():
    """No code compiled by one test serves another."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def make(tiny, spec):
    """A world model of a family's tiny prior, whose actions and LoRA show in the output."""

    def build(name: str, **options) -> WorldModel:
        torch.manual_seed(0)
        family = FAMILIES[name]
        backbone = getattr(egowm.backbones, family.backbone)(str(tiny(name)))
        model = WorldModel(backbone, spec=spec, lora_rank=4, **options)
        model.configure_model()
        nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3)
        for key, parameter in model.named_parameters():
            if ".lora_B." in key:
                nn.init.normal_(parameter, std=0.1)
        return model

    return build


def step(model: WorldModel, name: str) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of one training step."""
    generator, family = torch.Generator().manual_seed(0), FAMILIES[name]
    shape = (1, family.horizon + 1, 3, *family.size)
    frames = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    actions = 0.1 * torch.randn(1, family.horizon, 3, generator=generator)
    rest = torch.zeros(1, 0, 3), torch.zeros(1, 0), [""], ["test"], ["a"]
    model.train().zero_grad()
    loss = model.loss(Clip(frames, actions, *rest), generator)[0]
    loss.backward()
    return loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("predict2", "full"),
        pytest.param("predict2", "lora", marks=pytest.mark.long),
        pytest.param("wan2.2", "full", marks=pytest.mark.long),
    ],
)
def test_the_compiled_step_is_the_eager_one(make, name, part):
    """Under gradient checkpointing; blocks that are alike are compiled once."""
    options = {"train": part, "gradient_checkpointing": True}
    eager, compiled = make(name, **options), make(name, compile="aot_eager", **options)
    compiled.load_state_dict(eager.state_dict())  # the names are the same
    expected, found = step(eager, name), step(compiled, name)
    assert 1 <= counters["stats"]["unique_graphs"] <= 3
    assert not counters["graph_break"]
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert len(found[1]) == len(expected[1])
    assert max(gradient.abs().max() for gradient in found[1]) > 1e-4
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-3)


@pytest.mark.long
def test_checkpointed_temporal_attention_compiles(make):
    """Of SVD, whose temporal blocks are recomputed by a forward of ours."""
    network = make("svd", gradient_checkpointing=True).backbone.network
    (attention, *_) = (
        m for m in network.modules() if type(m).__name__ == "TransformerSpatioTemporalModel"
    )
    width, frames = attention.in_channels, 4
    inputs = torch.randn(frames, width, 4, 4), torch.randn(frames, 1, 64), torch.zeros(1, frames)
    found = []
    for _ in ("eager", "compiled"):
        attention.zero_grad()
        made = attention(*inputs, return_dict=False)[0]
        made.square().mean().backward()
        gradients = [p.grad.clone() for p in attention.parameters() if p.grad is not None]
        found.append((made.detach(), gradients))
        attention.compile(backend="aot_eager")
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-3)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


@pytest.mark.parametrize(
    ("name", "plain_first"),
    [pytest.param("svd", True, marks=pytest.mark.long), ("predict2", False)],
)
def test_every_embedding_is_seen(make, name, plain_first):
    """12 of them and a plain call, in both orders; nothing is compiled again after the first."""
    eager, compiled = make(name).eval(), make(name).eval()
    assert compile_blocks(compiled.backbone.blocks, "aot_eager") == BLOCKS[name]
    generator, family = torch.Generator().manual_seed(0), FAMILIES[name]
    backbone = eager.backbone
    with torch.no_grad():
        context = torch.zeros(1, 1, 3, *family.size)
        condition = backbone.condition(context, torch.zeros(1), num_frames=family.horizon + 1)
    num_latents = backbone.context_latents + family.horizon // family.stride
    shape = (1, num_latents, *backbone.latent_shape(*family.size))
    noisy = torch.randn(shape, generator=generator)
    embeddings = torch.randn(12, 1, num_latents, backbone.embedding_dim, generator=generator)

    @torch.no_grad()
    def call(model: WorldModel, embedding=None) -> torch.Tensor:
        sigma = torch.tensor([1.0])
        if embedding is None:
            return model.backbone(noisy, sigma, condition)
        with model.backbone.injecting(embedding):
            return model.backbone(noisy, sigma, condition)

    calls = [None, *embeddings] if plain_first else [*embeddings, None]
    found = [call(compiled, calls[0])]
    compilations = counters["stats"]["unique_graphs"]
    assert compilations <= BLOCKS[name]
    found += [call(compiled, embedding) for embedding in calls[1:]]
    expected = [call(eager, embedding) for embedding in calls]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert counters["stats"]["unique_graphs"] == compilations
    assert not counters["graph_break"]
    outputs = torch.stack(found)
    apart = (outputs[:, None] - outputs).abs().flatten(2).amax(2) + 10 * torch.eye(13)
    assert apart.min() > 1e-3  # 13 different outputs


def test_a_backbone_without_blocks_is_refused():
    class Plain(SVD):
        blocks = Backbone.blocks

    with pytest.raises(ValueError, match="Plain does not name the blocks of its network: leave"):
        _ = Plain("nowhere").blocks


@pytest.mark.long
def test_cuda_graphs_are_told_where_a_pass_begins(monkeypatch):
    """On a CPU there are none, and the blocks are inductor's."""
    begun: list[int] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(1))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    given = torch.randn(3, 4)
    with torch.no_grad():
        expected = network(given)
        assert compile_blocks([network[0], network[2]], "cudagraphs") == 2
        found = [network(given) for _ in range(3)]
    assert len(begun) == 3  # once a pass, by the first block
    torch.testing.assert_close(found, [expected] * 3)
    assert counters["stats"]["unique_graphs"] >= 1
