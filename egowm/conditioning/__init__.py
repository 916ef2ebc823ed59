"""What makes a video network follow actions: `F_i(Z_t + Z_a + Z_s)` (EgoWM, arXiv 2601.15284)."""

from egowm.conditioning.embedding import ActionEmbedding
from egowm.conditioning.injection import inject

__all__ = ["ActionEmbedding", "inject"]
