"""Alignment of two encoders by their cross-attention (CAS), without training anything."""

from typing import NamedTuple

import torch
from torch import Tensor

from egowm.checks import check_alike, check_between, check_float, check_shape, checked


class Alignment(NamedTuple):
    """How far two models look at the same patches, for each of P pairs of frames, 0 to 1.

    raw: (P,), of the maps as they are; two models that look at the same place of the picture
    whatever it shows agree here. centred: (P,), of what is left of each map when its model's mean
    over the pairs is taken away, so that places that are always looked at do not count; NaN of one
    pair alone, of which nothing is left.

    >>> Alignment(raw=torch.ones(2), centred=torch.tensor([0.2, 0.4])).centred.mean()
    tensor(0.3000)
    """

    raw: Tensor
    centred: Tensor


@checked
def alignment(a: Tensor, b: Tensor, k: int = 5) -> Alignment:
    """Share of the k patches that a patch looks at most which are the same in two models (CAS),
    averaged over patches. By chance it is k/N.

    Args:
        a: Cross-attention (P, N, N) of one model, of target to source, as `SingleLife.attention`
            gives it.
        b: The other's, of the same pairs.
        k: Patches that are compared, 1 to N.

    >>> here = torch.eye(4).expand(2, 4, 4)
    >>> alignment(here, here, k=1).raw.tolist(), alignment(here, here.flip(1), k=1).raw.tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    check_shape("a", a, "P N N", N=a.shape[-1] if a.ndim == 3 else 0)
    check_alike("b", b, "a", a)
    for name, maps in (("a", a), ("b", b)):
        check_float(name, maps)
        if not maps.isfinite().all():
            raise ValueError(f"Expected maps of finite numbers, got NaN or infinity in {name}.")
    check_between("k", k, 1, a.shape[-1])
    raw, centred = _shared(a, b, k), _shared(a - a.mean(0), b - b.mean(0), k)
    return Alignment(raw, centred if len(a) > 1 else torch.full_like(centred, torch.nan))


@checked
def same_place(side: int) -> Tensor:
    """The map (N, N) of a model that looks at its own place in the other frame and what lies around
    it; N is the square of the side.

    Args:
        side: Patches along a side, at least 1.

    >>> same_place(2)[0].tolist()  # less the squared distance in patches
    [-0.0, -1.0, -1.0, -2.0]
    """
    check_between("side", side, 1, 1024)
    rows, columns = torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], 1)
    return -(places[:, None] - places).square().sum(-1)


def _shared(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Of maps (P, N, N), the share (P,) of the k highest of each row that both have."""
    both = _highest(a, k) & _highest(b, k)
    return both.sum(2).double().mean(1) / k


def _highest(maps: Tensor, k: int) -> Tensor:
    """Whether an entry is one of the k highest of its row; of equal ones the first are."""
    order = maps.argsort(dim=2, descending=True, stable=True)[:, :, :k]
    return torch.zeros_like(maps, dtype=torch.bool).scatter_(2, order, True)
