"""Hooks that add an embedding to a diffusers network's timestep embedding, and leave no trace.

diffusers itself is untouched: under `with inject(network, embedding)` a plain call of the network
is conditioned; afterwards the network is what it was. `backward()` may come after the block, also
with diffusers' gradient checkpointing. A checkpoint around the *whole* network would recompute
without the hooks: there, enter `inject` inside the checkpointed function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_ACTIVE = "_egowm_injected"


@contextmanager
def inject(network: nn.Module, embedding: Tensor) -> Iterator[nn.Module]:
    """Condition plain calls of `network` on `embedding` (B, t, D), one vector per latent frame.

    Raises TypeError for a network of an unknown family, RuntimeError when nested on one network.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> network = model.backbone.network.requires_grad_(False)
    >>> noisy, image, ids = torch.ones(1, 1, 32, 16, 16), torch.ones(1, 1, 64), torch.ones(1, 3)
    >>> plain = network(noisy, 1.0, image, ids).sample
    >>> embedding = torch.zeros(1, 1, model.backbone.embedding_dim)  # (B, t, D)
    >>> with inject(network, embedding):
    ...     same = network(noisy, 1.0, image, ids).sample
    >>> with inject(network, embedding + 1):
    ...     conditioned = network(noisy, 1.0, image, ids).sample
    >>> float((same - plain).abs().max()), float((conditioned - plain).abs().max()) > 0.1
    (0.0, True)
    """
    # FSDP2 gives a network a class of its own, derived from diffusers'.
    names = [kind.__name__ for kind in type(network).__mro__]
    family = next((name for name in names if name in _FAMILIES), None)
    if family is None:
        raise TypeError(
            f"Do not know where an embedding enters {names[0]}; known: {', '.join(_FAMILIES)}."
        )
    if embedding.ndim != 3:
        raise ValueError(f"Expected an embedding (B, t, D), got {tuple(embedding.shape)}.")
    if getattr(network, _ACTIVE, False):
        raise RuntimeError("This network is already inside `inject`: leave that block first.")
    setattr(network, _ACTIVE, True)
    handles: list[RemovableHandle] = []
    try:
        handles += _FAMILIES[family](network, embedding)
        yield network
    finally:
        for handle in handles:
            handle.remove()
        delattr(network, _ACTIVE)


def _spatio_temporal_unet(network: nn.Module, embedding: Tensor) -> list[RemovableHandle]:
    """SVD: each stage receives `temb` (B*T, D); `time_embedding` itself is repeated after it."""
    flat = embedding.flatten(0, 1)

    def add(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        temb = kwargs["temb"]
        if temb.shape != flat.shape:
            raise ValueError(
                f"The embedding {tuple(embedding.shape)} does not fit the network's call: expected "
                f"B*t = {temb.shape[0]} vectors of width {temb.shape[1]}."
            )
        return args, kwargs | {"temb": temb + flat.to(temb.dtype)}

    stages: list[Any] = [*network.down_blocks, network.mid_block, *network.up_blocks]  # type: ignore[misc]
    return [stage.register_forward_pre_hook(add, with_kwargs=True) for stage in stages]


def _cosmos(network: nn.Module, embedding: Tensor) -> list[RemovableHandle]:
    """Cosmos: `time_embed` returns the timestep vector (B*t, 3C) and the normed embedding (B*t, C)
    that every block modulates by. Width C enters the second, width 4C both."""
    flat = embedding.flatten(0, 1)

    def add(module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        vector, embedded = output
        narrow, wide = embedded.shape[-1], embedded.shape[-1] + vector.shape[-1]
        if len(flat) != len(embedded) or flat.shape[-1] not in (narrow, wide):
            raise ValueError(
                f"The embedding {tuple(embedding.shape)} does not fit the network's call: expected "
                f"B*t = {len(embedded)} vectors of width {narrow} or {wide}, and a timestep for "
                f"each latent frame (B, 1, t, 1, 1)."
            )
        embedded = embedded + flat[:, :narrow].to(embedded.dtype)
        if flat.shape[-1] == wide:
            vector = vector + flat[:, narrow:].to(vector.dtype)
        return vector, embedded

    return [network.time_embed.register_forward_hook(add)]  # type: ignore[union-attr, operator]


def _tokens(network: nn.Module, embedding: Tensor, embedder: Any) -> list[RemovableHandle]:
    """Hook a module that embeds a timestep for each token, (B*tokens, D) or (B, tokens, D); tokens
    are frame-major, so each latent frame's vector serves tokens / t of them in a row."""
    count, num_latents, width = embedding.shape

    def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        each, rest = divmod(output.numel() // output.shape[-1], count * num_latents)
        if rest or not each or output.shape[-1] != width:
            raise ValueError(
                f"The embedding {tuple(embedding.shape)} does not fit the network's call: expected "
                f"width {output.shape[-1]}, and a timestep for each token (B, tokens) with tokens "
                f"a multiple of t; it embedded {output.numel() // output.shape[-1]}."
            )
        tokens = embedding.repeat_interleave(each, 1).reshape(output.shape)
        return output + tokens.to(output.dtype)

    return [embedder.register_forward_hook(add)]


def _wan(network: nn.Module, embedding: Tensor) -> list[RemovableHandle]:
    """Wan: `condition_embedder` itself is too late, the blocks' modulation is made inside it."""
    return _tokens(network, embedding, network.condition_embedder.time_embedder)  # type: ignore[union-attr]


def _ltx(network: nn.Module, embedding: Tensor) -> list[RemovableHandle]:
    """LTX: inside `time_embed`, before the blocks' modulation is made."""
    return _tokens(network, embedding, network.time_embed.emb)  # type: ignore[union-attr]


_FAMILIES: dict[str, Callable[[nn.Module, Tensor], list[RemovableHandle]]] = {
    "UNetSpatioTemporalConditionModel": _spatio_temporal_unet,
    "CosmosTransformer3DModel": _cosmos,
    "WanTransformer3DModel": _wan,
    "LTXVideoTransformer3DModel": _ltx,
}
