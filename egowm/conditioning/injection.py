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
    """
    family = type(network).__name__
    if family not in _FAMILIES:
        raise TypeError(
            f"Do not know where an embedding enters {family}; known: {', '.join(_FAMILIES)}."
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


_FAMILIES: dict[str, Callable[[nn.Module, Tensor], list[RemovableHandle]]] = {
    "UNetSpatioTemporalConditionModel": _spatio_temporal_unet,
}
