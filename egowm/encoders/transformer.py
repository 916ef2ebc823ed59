"""A vision transformer of which some patches alone are seen, as I-JEPA and SingleLife train it."""

from typing import Any

from torch import Tensor, nn

from egowm.encoders.positions import sine_cosine

EPS = 1e-6  # of its normalisations


def transformer(width: int, layers: int, heads: int, size: int, patch: int) -> nn.Module:
    """A vision transformer of transformers with random weights and fixed positions, without cls
    token.

    Args:
        width: Channels, a multiple of 4 and of the heads.
        layers: Its layers.
        heads: Its attention heads.
        size: H and W of the frames, a multiple of the patch.
        patch: H and W of a patch in pixels.
    """
    from transformers import IJepaConfig, IJepaModel

    config = IJepaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=size,
        patch_size=patch,
        layer_norm_eps=EPS,
    )
    network: Any = IJepaModel(config)
    positions = network.embeddings.position_embeddings.requires_grad_(False)
    positions.copy_(sine_cosine(width, size // patch)[None])
    return network  # type: ignore[no-any-return]


def gathered(tokens: Tensor, numbers: Tensor) -> Tensor:
    """The tokens (M, N, D) of these numbers (M, K): (M, K, D)."""
    return tokens.gather(1, numbers[..., None].expand(-1, -1, tokens.shape[-1]))
