"""Starts for small networks that know the obvious, so that training spends its samples on the rest.

From default weights a small VAE needs thousands of steps before it beats plain resampling, and a
small video network as long before it beats repeating the context. Both are set here in closed form.
"""

from typing import Any

from torch import nn

from egowm.pretraining.starts.convolutions import (
    start_as_copy,
    start_as_cosines,
    start_causal_as_cosines,
)
from egowm.pretraining.starts.transformer import start_transformer_as_copy


def copy_of_context(network: nn.Module, vae: Any) -> None:
    """Set a network's weights so that every frame it makes is the context.

    Args:
        network: a `UNetSpatioTemporalConditionModel` or a `CosmosTransformer3DModel`.
        vae: the pipeline's autoencoder, for the scale of its latents.

    Raises TypeError for another network.

    >>> from egowm.backbones import SVD
    >>> backbone = SVD("./priors/rooms-svd", random=["unet"], start=copy_of_context)
    >>> backbone.load()
    >>> channels = backbone.network.conv_out.out_channels
    >>> float(backbone.network.conv_in.weight[0, channels, 1, 1])  # the context's first channel
    1.0
    """
    name = type(network).__name__
    if name == "UNetSpatioTemporalConditionModel":
        start_as_copy(network, vae.config.scaling_factor)
    elif name == "CosmosTransformer3DModel":
        start_transformer_as_copy(network)
    else:
        raise TypeError(f"Expected the UNet of SVD or the transformer of Cosmos, got {name}.")


__all__ = [
    "copy_of_context",
    "start_as_copy",
    "start_as_cosines",
    "start_causal_as_cosines",
    "start_transformer_as_copy",
]
