"""Embeddings of actions (and of the body's state): one vector per frame, zero at the start."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from egowm.checks import check_between, checked, counted

Features = Literal["fourier", "sinusoidal", "linear"]
CHANNELS = 32  # per scalar, as in EgoWM
MOST_WIDE = 65_536  # more is a mistake that fills the memory


def scalar_features(values: Tensor, features: Features) -> Tensor:
    """Features of each scalar: (..., A) -> (..., A * channels).

    "fourier": sin and cos at 16 frequencies from 1 to 30 radians per unit, for values in about
    [-1, 1]. "sinusoidal": EgoWM's 32 channels, those of a timestep embedding (they barely move
    for small values). "linear": the values themselves.
    """
    if features == "linear":
        return values
    half, device = CHANNELS // 2, values.device
    if features == "fourier":
        frequencies = torch.logspace(0, math.log10(30), half, device=device)
    elif features == "sinusoidal":
        exponent = torch.arange(half, device=device) / half
        frequencies = torch.exp(-math.log(10000) * exponent)
    else:
        raise ValueError(f"Expected features fourier, sinusoidal or linear, got {features!r}.")
    angles = values.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1).flatten(-2)


@checked
class ActionEmbedding(nn.Module):
    """MLP on features of each scalar of an action, or of the body's state.

    Args:
        width: A, numbers of an action (or S, of a state).
        embedding_dim: D, length of the vector that comes out.
        features: Of each scalar: "fourier" (sin and cos, for values in about [-1, 1]), "sinusoidal"
            (those of a timestep embedding, as in EgoWM) or "linear" (the value itself).
        zero_init: The last layer starts at zero, so the wrapped network starts as it was; false
            starts at the default initialisation, as the authors' released code does.

    >>> embed = ActionEmbedding(width=3, embedding_dim=8)
    >>> before_training = embed(torch.ones(1, 4, 3))
    >>> before_training.shape, float(before_training.abs().max())
    (torch.Size([1, 4, 8]), 0.0)
    """

    def __init__(
        self, width: int, embedding_dim: int, features: Features = "fourier", zero_init: bool = True
    ) -> None:
        super().__init__()
        check_between("width", width, 1, MOST_WIDE)
        check_between("embedding_dim", embedding_dim, 1, MOST_WIDE)
        self.width, self.features = width, features
        channels = 1 if features == "linear" else CHANNELS
        self.linear_1 = nn.Linear(width * channels, embedding_dim)
        self.linear_2 = nn.Linear(embedding_dim, embedding_dim)
        if zero_init:
            nn.init.zeros_(self.linear_2.weight)
            nn.init.zeros_(self.linear_2.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Embed what is normalised: (B, T, A) to (B, T, D), a state (B, S) to (B, D).

        Args:
            values: (..., A), normalised.
        """
        if not values.ndim or values.shape[-1] != self.width:
            expected = counted(self.width, "value")
            raise ValueError(f"Expected {expected} per step, got {tuple(values.shape)}.")
        hidden = scalar_features(values, self.features).to(self.linear_1.weight.dtype)
        out: Tensor = self.linear_2(nn.functional.silu(self.linear_1(hidden)))
        return out
