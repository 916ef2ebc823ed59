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
    pair alone, of which nothing is left. by_target: (P,), of what is left of each centred map when
    its mean over the target patches is taken away, too, so that what all targets look at, such as
    a bright place, does not count: only where they look apart.

    >>> found = Alignment(torch.ones(2), centred=torch.tensor([0.2, 0.4]), by_target=torch.ones(2))
    >>> found.centred.mean()
    tensor(0.3000)
    """

    raw: Tensor
    centred: Tensor
    by_target: Tensor


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
    _check_maps(a, b, ("a", "b"), k)
    return _alignment((a, b), (a - a.mean(0), b - b.mean(0)), k)


@checked
def structure_agreement(imagined: Tensor, true: Tensor, k: int = 5) -> Alignment:
    """How far one model looks up the patches of imagined frames in the first frame where it looks
    up those of the true frames: a score of structure that needs no masks.

    Both maps are those of pairs with the same sources, the first frames; targets are the imagined
    or the true frames. Of each patch the k patches of the source are compared that it looks at
    most. Both maps are centred on the mean of the *true* ones, so an error that all imagined frames
    share is not taken away. Give the frames of one clip: what the model looks at throughout, such
    as its own place, then does not count. Equal frames give 1, and chance is k/N.

    Args:
        imagined: Cross-attention (P, N, N), as `SingleLife.attention` gives it.
        true: As imagined, of the true frames.
        k: Patches that are compared, 1 to N.

    >>> true = torch.eye(4).repeat(2, 1, 1)
    >>> true[1] = true[1].flip(1)
    >>> structure_agreement(true[[0, 0]], true, k=1).centred  # frozen: right in the first alone
    tensor([1., 0.], dtype=torch.float64)
    """
    _check_maps(imagined, true, ("imagined", "true"), k)
    usual = true.mean(0)
    return _alignment((imagined, true), (imagined - usual, true - usual), k)


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


def _check_maps(a: Tensor, b: Tensor, names: tuple[str, str], k: int) -> None:
    """Refuse what is no maps (P, N, N) of finite numbers, alike in shape."""
    check_shape(names[0], a, "P N N", N=a.shape[-1] if a.ndim == 3 else 0)
    check_alike(names[1], b, names[0], a)
    for name, maps in zip(names, (a, b), strict=True):
        check_float(name, maps)
        if not maps.isfinite().all():
            raise ValueError(f"Expected maps of finite numbers, got NaN or infinity in {name}.")
    check_between("k", k, 1, a.shape[-1])


def _alignment(raw: tuple[Tensor, Tensor], centred: tuple[Tensor, Tensor], k: int) -> Alignment:
    """Of two models' maps as they are, and centred."""
    a, b = (maps - maps.mean(1, keepdim=True) for maps in centred)
    found = [_shared(*maps, k) for maps in (raw, centred, (a, b))]
    if len(raw[0]) == 1:
        found[1:] = [torch.full_like(one, torch.nan) for one in found[1:]]
    return Alignment(*found)


def _shared(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Of maps (P, N, N), the share (P,) of the k highest of each row that both have."""
    both = _highest(a, k) & _highest(b, k)
    return both.sum(2).double().mean(1) / k


def _highest(maps: Tensor, k: int) -> Tensor:
    """Whether an entry is one of the k highest of its row; of equal ones the first are."""
    order = maps.argsort(dim=2, descending=True, stable=True)[:, :, :k]
    return torch.zeros_like(maps, dtype=torch.bool).scatter_(2, order, True)
