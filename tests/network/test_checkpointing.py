"""Gradient checkpointing also of the temporal blocks, which diffusers leaves out."""

import copy

import pytest
import torch

from egowm.network.checkpointing import enable_gradient_checkpointing

TEMPORAL = "TemporalBasicTransformerBlock"


@pytest.fixture
def network(world_model):
    """Of SVD's class."""
    return world_model.backbone.network.train()


def call(network) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return network(
        torch.randn(1, 4, 8, 8, 8, generator=generator),
        torch.tensor([0.3]),
        torch.randn(1, 1, 64, generator=generator),
        torch.tensor([[6.0, 180.0, 0.1]]),
    )[0]


def kept(network) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters left out."""
    known = {p.untyped_storage().data_ptr() for p in network.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call(network)
    output.sum().backward()
    return sum(sizes.values())


def test_temporal_blocks_run_twice_and_keep_less(network):
    network.enable_gradient_checkpointing()
    of_diffusers = kept(network)
    expected = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    enable_gradient_checkpointing(network)
    enable_gradient_checkpointing(network)  # once is enough, twice is no more
    runs = []
    for module in network.modules():
        if type(module).__name__ == TEMPORAL:
            module.norm1.register_forward_hook(lambda *_: runs.append(1))
    num_blocks = len({id(m) for m in network.modules() if type(m).__name__ == TEMPORAL})
    assert kept(network) < 0.8 * of_diffusers
    assert len(runs) == 2 * num_blocks
    found = [p.grad for p in network.parameters() if p.grad is not None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_nothing_is_recomputed_without_gradients(network):
    with torch.no_grad():
        expected = call(network)
        enable_gradient_checkpointing(network, recompute=None)  # would fail if it were called
        assert torch.equal(call(network), expected)


def test_a_copy_is_independent(network):
    enable_gradient_checkpointing(network)
    other = copy.deepcopy(network)
    expected = call(network).detach()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(call(network), expected)
    assert call(other).abs().max() == 0
