"""Guidance in one convention for every backbone: `null + g (cond - null)`, and g = 1 is off.

Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598). Guidance on the action keeps
image and text in both branches (UniSim, arXiv 2310.06114, writes g as 1 + eta); EgoWM guides on
the image. Cosmos' own scale is g - 1.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Guide = Literal["image", "action", "text"]


def guided(null: "Tensor", cond: "Tensor", scale: float) -> "Tensor":
    """The guided estimate; both are clean latents (B, ...)."""
    return null + scale * (cond - null)
