"""How actions enter a network: embeddings, their alignment with latent frames, hooks, guidance."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.conditioning.embedding import ActionEmbedding
    from egowm.conditioning.injection import inject, takes_actions

__all__ = ["ActionEmbedding", "inject", "takes_actions"]

__getattr__, __dir__ = face(__name__)
