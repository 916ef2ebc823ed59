"""How actions enter a network: embeddings, their alignment with latent frames, hooks, guidance."""

from egowm.conditioning.embedding import ActionEmbedding
from egowm.conditioning.injection import inject, takes_actions

__all__ = ["ActionEmbedding", "inject", "takes_actions"]
