"""Embeddings of actions: their features, their start at zero, and what trains after one step."""

import math

import pytest
import torch
from torch import nn

from egowm.conditioning import ActionEmbedding
from egowm.conditioning.embedding import CHANNELS, scalar_features


def test_fourier_features_in_closed_form():
    """16 frequencies from 1 to 30 radians per unit, evenly spaced in their logarithm."""
    found = scalar_features(torch.tensor([[0.3, -1.0]]), "fourier")
    frequencies = [30 ** (k / 15) for k in range(16)]
    expected = [
        wave(value * f)
        for value in (0.3, -1.0)
        for wave in (math.cos, math.sin)
        for f in frequencies
    ]
    assert found.shape == (1, 2 * CHANNELS)
    torch.testing.assert_close(found[0], torch.tensor(expected), atol=1e-5, rtol=0)


def test_sinusoidal_features_are_diffusers_timesteps():
    """EgoWM: `Timesteps(32, flip_sin_to_cos=True, downscale_freq_shift=0)` on each scalar."""
    from diffusers.models.embeddings import Timesteps

    values = torch.tensor([0.3, -1.0, 0.02])
    stock = Timesteps(CHANNELS, flip_sin_to_cos=True, downscale_freq_shift=0)(values)
    found = scalar_features(values[None], "sinusoidal")
    torch.testing.assert_close(found[0], stock.flatten(), atol=1e-6, rtol=0)


def test_linear_and_unknown_features():
    values = torch.randn(2, 3, 4)
    assert scalar_features(values, "linear") is values
    with pytest.raises(ValueError, match="fourier, sinusoidal or linear, got 'square'"):
        scalar_features(values, "square")


@pytest.mark.parametrize("features", ["fourier", "sinusoidal", "linear"])
def test_zero_at_the_start(features):
    actions = torch.randn(2, 5, 3)
    assert torch.equal(ActionEmbedding(3, 64, features)(actions), torch.zeros(2, 5, 64))
    default = ActionEmbedding(3, 64, features, zero_init=False)(actions)
    assert default.shape == (2, 5, 64)
    assert default.std() > 0.05


def test_a_state_gives_one_vector():
    assert ActionEmbedding(25, 64)(torch.randn(2, 25)).shape == (2, 64)


def test_width_is_checked():
    with pytest.raises(ValueError, match=r"Expected 3 values per step, got \(2, 5, 4\)"):
        ActionEmbedding(3, 64)(torch.randn(2, 5, 4))


def test_each_frame_s_embedding_is_its_own():
    embedding = ActionEmbedding(3, 64, zero_init=False)
    actions = torch.randn(2, 6, 3)
    changed = actions.clone()
    changed[1, 4, 2] += 0.1
    different = (embedding(actions) != embedding(changed)).any(-1)
    assert different.nonzero().tolist() == [[1, 4]]


def test_small_actions_show_in_fourier_features():
    """A turn of a tenth of its range moves them far more than the authors' features."""
    near = torch.tensor([[0.0], [0.1]])
    moved = {
        kind: (scalar_features(near, kind)[0] - scalar_features(near, kind)[1]).norm().item()
        for kind in ("fourier", "sinusoidal")
    }
    assert moved["fourier"] > 15 * moved["sinusoidal"] > 0


def test_what_trains_when():
    """Zero last layer: it alone has a gradient at first; after one step so has the first layer."""
    module, target = ActionEmbedding(3, 16), torch.ones(4, 5, 16)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    actions, gradients = torch.randn(4, 5, 3), []
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(actions), target).backward()
        gradients.append({n: p.grad.abs().sum().item() for n, p in module.named_parameters()})
        optimizer.step()
    assert gradients[0]["linear_1.weight"] == 0
    assert gradients[0]["linear_2.weight"] > 0
    assert min(gradients[1].values()) > 0
