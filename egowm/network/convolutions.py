"""Layers of the small networks of latent models and policies."""

from itertools import pairwise

from torch import nn


def check_halvings(size: int) -> None:
    """Refuse a size that convolutions of stride 2 do not halve down to 4."""
    if size < 8 or size & (size - 1):
        raise ValueError(f"Expected a size of 8, 16, 32, ... pixels, got {size}.")


def halvings(channels: list[int]) -> list[nn.Module]:
    """Convolutions that halve height and width, each from its channels to the next."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ELU()]
    return layers


def doublings(channels: list[int]) -> list[nn.Module]:
    """The reverse of `halvings`; the last layer has no activation."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.ELU()]
    return layers[:-1]


def dense(width: int, units: int, out: int) -> nn.Sequential:
    """A hidden layer with normalisation, and a linear one."""
    return nn.Sequential(
        nn.Linear(width, units), nn.LayerNorm(units), nn.ELU(), nn.Linear(units, out)
    )
