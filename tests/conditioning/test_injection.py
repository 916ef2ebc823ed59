"""Hooks that condition a diffusers network: where they reach, and that they leave no trace."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from egowm.conditioning import inject

BATCH, FRAMES = 2, 3


@pytest.fixture
def network(world_model):
    return world_model.backbone.network


@pytest.fixture
def inputs(network) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "sample": torch.randn(BATCH, FRAMES, 8, 8, 8, generator=generator),
        "timestep": torch.tensor([0.3, -0.6]),
        "encoder_hidden_states": torch.randn(BATCH, 1, 64, generator=generator),
        "added_time_ids": torch.tensor([[6.0, 180.0, 0.1]]).expand(BATCH, 3),
    }


@pytest.fixture
def embedding(network) -> Tensor:
    """A perturbation of Z, (B, t, D)."""
    width = network.config.block_out_channels[0] * 4
    return torch.randn(BATCH, FRAMES, width, generator=torch.Generator().manual_seed(1))


def call(network: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    return network(**inputs, return_dict=False)[0]


def stages(network: nn.Module) -> dict[str, nn.Module]:
    rows = {f"down {k}": block for k, block in enumerate(network.down_blocks)}
    rows["mid"] = network.mid_block
    return rows | {f"up {k}": block for k, block in enumerate(network.up_blocks)}


@contextmanager
def recorded(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The output of each stage, (B*T, c, h, w)."""
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module, args, output):
            seen[name] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook

    handles = [block.register_forward_hook(keep(n)) for n, block in stages(network).items()]
    yield seen
    for handle in handles:
        handle.remove()


def num_hooks(network: nn.Module) -> int:
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, kind)) for m in network.modules() for kind in kinds)


def test_identity_at_the_start(network, inputs, world_model):
    """The zero-initialised embedding changes nothing, to the bit, whatever the actions."""
    plain = call(network, inputs)
    assert plain.std() > 0.2
    actions = torch.rand(BATCH, FRAMES, 3) * 2 - 1
    with inject(network, world_model.embed(actions)):
        conditioned = call(network, inputs)
    assert torch.equal(conditioned, plain)


def test_every_stage_is_reached(network, inputs, embedding):
    with recorded(network) as plain:
        call(network, inputs)
    with recorded(network) as conditioned, inject(network, embedding):
        call(network, inputs)
    assert list(plain) == list(stages(network)) == list(conditioned)
    changes = {n: ((conditioned[n] - plain[n]).std() / plain[n].std()).item() for n in plain}
    assert changes["down 0"] > 0.05  # the first block: not only the last norm
    assert min(changes.values()) > 0.05


def test_the_sum_is_z_plus_z_a(network, inputs, embedding):
    """Z_a equal in all frames, added in every stage, is Z_a added to the time embedding itself."""
    same = embedding[:, :1].expand(-1, FRAMES, -1)
    with inject(network, same):
        found = call(network, inputs)
    network.time_embedding.register_forward_hook(lambda module, args, z: z + embedding[:, 0])
    torch.testing.assert_close(found, call(network, inputs), atol=1e-5, rtol=1e-5)


def test_a_frame_s_embedding_reaches_that_frame_alone(network, inputs, embedding):
    """In the first block's first (spatial) resnet; later layers mix frames over time."""
    first = network.down_blocks[0].resnets[0].spatial_res_block
    outputs: list[Tensor] = []
    handle = first.register_forward_hook(lambda module, args, output: outputs.append(output))
    changed = embedding.clone()
    changed[1, 2] += 1
    for z in (embedding, changed):
        with inject(network, z):
            call(network, inputs)
    handle.remove()
    different = (outputs[0] != outputs[1]).flatten(1).any(1).view(BATCH, FRAMES)
    assert different.nonzero().tolist() == [[1, 2]]


def test_batches_do_not_mix(network, inputs, embedding):
    changed = embedding.clone()
    changed[1] += 1
    outputs = []
    for z in (embedding, changed):
        with inject(network, z):
            outputs.append(call(network, inputs))
    torch.testing.assert_close(outputs[0][0], outputs[1][0], atol=1e-5, rtol=1e-5)
    assert (outputs[0][1] - outputs[1][1]).abs().max() > 0.05


def test_cast_to_the_network_s_dtype(network, inputs, embedding):
    network.bfloat16()
    inputs = {name: value.bfloat16() for name, value in inputs.items()}
    with inject(network, embedding):
        assert call(network, inputs).dtype == torch.bfloat16


def test_hooks_come_off(network, inputs, embedding):
    before, plain = num_hooks(network), call(network, inputs)
    with inject(network, embedding) as same:
        assert same is network
        assert num_hooks(network) == before + len(stages(network))
    assert num_hooks(network) == before == 0
    assert torch.equal(call(network, inputs), plain)
    assert "_egowm_injected" not in vars(network)


def test_hooks_come_off_after_an_exception(network, inputs, embedding):
    with pytest.raises(ZeroDivisionError), inject(network, embedding):
        raise ZeroDivisionError
    assert num_hooks(network) == 0
    with inject(network, embedding):  # and it may be used again
        call(network, inputs)


def test_nesting_is_an_error(network, embedding):
    with (
        inject(network, embedding),
        pytest.raises(RuntimeError, match="already inside `inject`"),
        inject(network, embedding),
    ):
        pass
    assert num_hooks(network) == 0
    other = copy.deepcopy(network)
    with inject(network, embedding), inject(other, embedding):
        assert num_hooks(other) == len(stages(other))


@pytest.mark.parametrize("shape", [(BATCH, FRAMES + 1, 128), (BATCH + 1, FRAMES, 128), (2, 3, 64)])
def test_a_wrong_shape_is_an_error(network, inputs, shape):
    words = r"does not fit the network's call: expected B\*t = 6 vectors of width 128"
    with pytest.raises(ValueError, match=words), inject(network, torch.zeros(shape)):
        call(network, inputs)
    assert num_hooks(network) == 0


def test_an_embedding_without_time_is_an_error(network):
    with pytest.raises(ValueError, match=r"\(B, t, D\), got \(2, 128\)"):
        inject(network, torch.zeros(2, 128)).__enter__()


def test_an_unknown_network_is_an_error():
    words = "where an embedding enters Linear: take the network of a loaded"
    with pytest.raises(TypeError, match=words), inject(nn.Linear(2, 2), torch.zeros(1, 1, 2)):
        pass


def gradients(network: nn.Module, inputs: dict[str, Tensor], embedding: Tensor) -> list[Tensor]:
    """Of the embedding and of every parameter; `backward` comes after the with-block."""
    leaf = embedding.clone().requires_grad_(True)
    network.zero_grad()
    with inject(network, leaf):
        output = call(network, inputs)
    assert num_hooks(network) == 0
    output.square().mean().backward()
    return [leaf.grad, *(p.grad.clone() for p in network.parameters() if p.grad is not None)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected) > 100
    assert expected[0].abs().max() > 1e-4  # the embedding matters
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max() + 1e-8


def test_gradients_with_diffusers_checkpointing(network, inputs, embedding):
    plain = gradients(network, inputs, embedding)
    network.enable_gradient_checkpointing()
    network.train()
    assert_same(gradients(network, inputs, embedding), plain)


def test_gradients_with_torch_checkpoint_wrappers(network, inputs, embedding):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    plain = gradients(network, inputs, embedding)
    for blocks in (network.down_blocks, network.up_blocks):
        for k, block in enumerate(blocks):
            blocks[k] = checkpoint_wrapper(block)
    network.mid_block = checkpoint_wrapper(network.mid_block)
    assert_same(gradients(network, inputs, embedding), plain)


def test_gradients_with_inject_inside_a_whole_network_checkpoint(network, inputs, embedding):
    from torch.utils.checkpoint import checkpoint

    plain = gradients(network, inputs, embedding)
    leaf = embedding.clone().requires_grad_(True)
    network.zero_grad()

    def conditioned(z: Tensor) -> Tensor:
        with inject(network, z):
            return call(network, inputs)

    checkpoint(conditioned, leaf, use_reentrant=False).square().mean().backward()
    found = [leaf.grad, *(p.grad for p in network.parameters() if p.grad is not None)]
    assert_same(found, plain)
