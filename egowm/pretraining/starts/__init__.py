"""Starts for small networks that know the obvious, so that training spends its samples on the rest.

From default weights a small VAE needs thousands of steps before it beats plain resampling, and a
small video network as long before it beats repeating the context. Both are set here in closed form.
"""

from egowm.pretraining.starts.convolutions import (
    start_as_copy,
    start_as_cosines,
    start_causal_as_cosines,
)
from egowm.pretraining.starts.transformer import start_transformer_as_copy

__all__ = [
    "start_as_copy",
    "start_as_cosines",
    "start_causal_as_cosines",
    "start_transformer_as_copy",
]
