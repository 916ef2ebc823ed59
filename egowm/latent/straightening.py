"""Straightness of latent paths: a loss for any encoder, a prediction without parameters, a metric.

Niu, Savin and Simoncelli (2024), arXiv 2411.01777; variance and covariance terms: VICReg
(Bardes et al. 2022, arXiv 2105.04906).
"""

import torch
from torch import Tensor

from egowm.checks import check_float, check_shape, checked

SHORTEST = 1e-6  # steps below it have no direction and are left out


@checked
def straightness(latents: Tensor) -> Tensor:
    """Mean cosine of successive steps, a scalar: 1 on a straight line, NaN where nothing moves.

    Args:
        latents: (B, T, ...), T at least 3; the axes after T are one vector.

    >>> straightness(torch.tensor([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]])).item()
    0.5
    """
    cosines, moving = _cosines(latents)
    return torch.where(moving, cosines, 0.0).sum() / moving.sum()


@checked
def step_cosines(latents: Tensor) -> Tensor:
    """Cosines (B, T-2) of successive steps, NaN where one of the two has no length.

    Args:
        latents: (B, T, ...), T at least 3; the axes after T are one vector.

    >>> step_cosines(torch.tensor([[[0.0], [1.0], [0.0], [0.0]]])).tolist()
    [[-1.0, nan]]
    """
    cosines, moving = _cosines(latents)
    return torch.where(moving, cosines, torch.nan)


@checked
def straightening_loss(latents: Tensor) -> Tensor:
    """1 - straightness, a scalar in [0, 2]; 0 where nothing moves.

    The cosine does not see the length of a step: alone, it lets an encoder collapse.

    Args:
        latents: (B, T, ...), T at least 3.

    >>> straightening_loss(torch.tensor([[[0.0], [1.0], [0.0]]])).item()  # there and back
    2.0
    """
    cosines, moving = _cosines(latents)
    return torch.where(moving, 1 - cosines, 0.0).sum() / moving.sum().clamp(min=1)


@checked
def invariance_loss(latents: Tensor) -> Tensor:
    """`|z[t] - z[0]|^2 / D`, a scalar: 0 where nothing changes, the baseline of straightening.

    Alone it lets an encoder collapse.

    Args:
        latents: (B, T, ...), T at least 2; the axes after T are one vector of D numbers.

    >>> invariance_loss(torch.tensor([[[1.0, 0.0], [1.0, 2.0], [4.0, 1.0]]])).item()  # 4/2, 10/2
    3.5
    """
    _check_paths(latents, 2)
    return (latents[:, 1:] - latents[:, :1]).square().mean()


@checked
def variance_loss(latents: Tensor, eps: float = 1e-4) -> Tensor:
    """`mean_i max(0, 1 - sqrt(Var z_i + eps))`, a scalar: how far dimensions lie below deviation 1.

    Args:
        latents: (N, D), N at least 2.
        eps: Keeps the gradient of the root finite.

    >>> variance_loss(torch.tensor([[0.0, -2.0], [0.0, 2.0]])).item()  # sqrt(eps) is 0.01
    0.4950...
    """
    _check_rows(latents)
    deviation = (latents.var(0) + eps).sqrt()
    return (1 - deviation).clamp(min=0).mean()


@checked
def covariance_loss(latents: Tensor) -> Tensor:
    """`1/D sum_{i != j} Cov_ij^2`, a scalar: 0 where no two dimensions go together.

    Args:
        latents: (N, D), N at least 2.

    >>> covariance_loss(torch.tensor([[1.0, 1.0], [-1.0, -1.0]])).item()  # Cov is 2 everywhere
    4.0
    """
    _check_rows(latents)
    centred = latents - latents.mean(0)
    covariance = centred.T @ centred / (len(latents) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / latents.shape[1]


@checked
def extrapolate(latents: Tensor) -> Tensor:
    """`2 z[t] - z[t-1]`, a prediction of z[t+1] without parameters: (B, T-1, ...), from z[2] on.

    Args:
        latents: (B, T, ...), T at least 2.

    >>> extrapolate(torch.tensor([[[1.0], [2.0], [4.0]]])).flatten().tolist()
    [3.0, 6.0]
    """
    _check_paths(latents, 2)
    return 2 * latents[:, 1:] - latents[:, :-1]


@checked
def straightness_gap(imagined: Tensor, real: Tensor) -> float:
    """Straightness of imagined paths less that of real ones, in [-2, 2]; 0 where they bend alike.

    Neither has to be of the same scenes as the other: it is a score without a reference.

    Args:
        imagined: (B, T, ...), latents or frames of rollouts, the last context frame first.
        real: (B', T', ...) of recordings, by the same encoder.

    >>> line = torch.arange(4.0).reshape(1, 4, 1)
    >>> straightness_gap(line.remainder(2), line)  # to and fro, against straight ahead
    -2.0
    """
    return float(straightness(imagined) - straightness(real))


def _cosines(latents: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T-2) of successive steps, and whether both of them have a length."""
    _check_paths(latents, 3)
    steps = latents.flatten(2).diff(dim=1)
    moving = ~(steps.detach().norm(dim=-1) < SHORTEST)  # NaN moves, and stays NaN
    steps = torch.where(moving[..., None], steps, 1.0)  # no gradient of a length of 0
    cosines = torch.nn.functional.cosine_similarity(steps[:, :-1], steps[:, 1:], dim=-1)
    return cosines, moving[:, :-1] & moving[:, 1:]


def _check_paths(latents: Tensor, least: int) -> None:
    if latents.ndim < 3 or latents.shape[1] < least:
        raise ValueError(
            f"Expected latents (B, T, ...) with T of at least {least}, got {tuple(latents.shape)}."
        )
    check_float("latents", latents)


def _check_rows(latents: Tensor) -> None:
    check_shape("latents", latents, "N D")
    if len(latents) < 2:
        raise ValueError(f"Expected at least 2 latents (N, D), got {tuple(latents.shape)}.")
    check_float("latents", latents)
