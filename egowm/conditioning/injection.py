"""Hooks that add an embedding to a diffusers network's timestep embedding, and leave no trace.

diffusers itself is untouched: under `with inject(network, embedding)` a plain call of the network
is conditioned; afterwards the network is what it was. `backward()` may come after the block, also
with diffusers' gradient checkpointing. A checkpoint around the *whole* network would recompute
without the hooks: there, enter `inject` inside the checkpointed function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from egowm.checks import check_shape, checked

Site = Callable[[Any, Tensor], list[RemovableHandle]]  # (network, embedding (B, t, D)) -> hooks
Network = TypeVar("Network", bound=nn.Module)
_SITE, _ACTIVE = "_egowm_site", "_egowm_injected"


@checked
def takes_actions(network: Network, site: Site) -> Network:
    """The same network, marked with the function by which an embedding enters it.

    Args:
        network: a diffusers network.
        site: adds the hooks for one embedding and returns their handles; a function of the file of
            the network's backbone.

    >>> def after_it(network, embedding):
    ...     def add(module, args, out):
    ...         return out + embedding
    ...     return [network.register_forward_hook(add)]
    >>> network = takes_actions(nn.Identity(), after_it)
    >>> with inject(network, torch.ones(1, 1, 2)):
    ...     network(torch.zeros(1, 1, 2))
    tensor([[[1., 1.]]])
    """
    setattr(network, _SITE, site)
    return network


@checked
@contextmanager
def inject(network: nn.Module, embedding: Tensor) -> Iterator[nn.Module]:
    """Condition plain calls of a network on an embedding, inside a `with` block.

    Args:
        network: Of a loaded backbone, or one that `takes_actions` marked.
        embedding: (B, t, D), one vector per latent frame.

    Raises:
        TypeError: A network without a site.
        RuntimeError: Nested on one network.

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
    site: Site | None = getattr(network, _SITE, None)
    if site is None:
        raise TypeError(
            f"Do not know where an embedding enters {type(network).__name__}: take the network of "
            f"a loaded backbone, or name the place with takes_actions(network, site)."
        )
    check_shape("embedding", embedding, "B t D")
    if getattr(network, _ACTIVE, False):
        raise RuntimeError("This network is already inside `inject`: leave that block first.")
    setattr(network, _ACTIVE, True)
    handles: list[RemovableHandle] = []
    try:
        handles += site(network, embedding)
        yield network
    finally:
        for handle in handles:
            handle.remove()
        delattr(network, _ACTIVE)


def enter_tokens(embedder: nn.Module, embedding: Tensor) -> list[RemovableHandle]:
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
