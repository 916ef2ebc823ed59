"""Convolutions over time, of one frame and of several."""

import copy

import pytest
import torch
from torch import nn

from egowm.network.single_frames import spare_padding


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_outputs_and_gradients_are_those_of_the_whole_kernel(frames):
    plain = nn.Sequential(nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)))
    spared = copy.deepcopy(plain)
    spare_padding(spared)
    x = torch.randn(2, 4, frames, 5, 5)
    expected, found = plain(x), spared(x)
    torch.testing.assert_close(found, expected)
    for network, output in ((plain, expected), (spared, found)):
        output.square().sum().backward()
        assert network[0].weight.grad is not None
    torch.testing.assert_close(spared[0].weight.grad, plain[0].weight.grad)
    assert spared.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv3d(4, 4, 3, padding=1),
        nn.Conv3d(4, 4, (3, 1, 1)),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), stride=(2, 1, 1)),
        nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0), groups=2),
    ],
)
def test_other_convolutions_stay(other):
    network = nn.Sequential(other)
    spare_padding(network)
    assert type(network[0]) is nn.Conv3d


def test_a_single_frame_of_svd_takes_the_middle_taps(world_model, monkeypatch):
    """Of the real network: the same prediction, without a three-dimensional convolution of time."""
    backbone = world_model.backbone
    noisy, context = torch.randn(1, 1, *backbone.latent_shape(16, 16)), torch.zeros(1, 1, 3, 16, 16)
    sizes = []
    conv3d = nn.functional.conv3d

    def watched(x, weight, *args):
        sizes.append(tuple(weight.shape[2:]))
        return conv3d(x, weight, *args)

    with torch.no_grad():
        condition = backbone.condition(context, torch.zeros(1), num_frames=2)
        found = backbone(noisy, torch.ones(1), condition)
        monkeypatch.setattr(nn.functional, "conv3d", watched)
        assert torch.equal(backbone(noisy, torch.ones(1), condition), found)
        assert (3, 1, 1) not in sizes
        for module in backbone.network.modules():
            if isinstance(module, nn.Conv3d):
                module.__class__ = nn.Conv3d
        torch.testing.assert_close(backbone(noisy, torch.ones(1), condition), found)
        assert (3, 1, 1) in sizes
