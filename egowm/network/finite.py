"""Weights without NaN and infinity: a training that went astray, or rounding, leaves them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from egowm.checks import counted


def check_finite(weights: Mapping[str, Tensor], place: str, advice: str = "") -> None:
    """Refuse weights that hold NaN or infinity, which would make every frame black or grey.

    Args:
        weights: Tensors of any shape by their names.
        place: What holds them, the beginning of the message.
        advice: What to do, its end.

    Raises ValueError, which names the first tensor and how many of its values are not finite.

    >>> check_finite({"a": torch.tensor([1.0, 2.0])}, "The export", "Copy it again.")
    """
    broken = [name for name, weight in weights.items() if not is_finite(weight)]
    if not broken:
        return
    first = weights[broken[0]]
    count = int((~first.isfinite()).sum())
    rest = counted(len(broken) - 1, "more tensor")
    more = f" (so are some of {rest})" if broken[1:] else ""
    raise ValueError(
        f"{place}: of {counted(first.numel(), 'value')} in {broken[0]}, NaN or infinite: "
        f"{count}{more}, expected finite weights. {advice}".rstrip()
    )


def check_rounded(
    rounded: Mapping[str, Tensor], exact: Callable[[str], Tensor], place: str, advice: str
) -> None:
    """Refuse weights that were finite and are beyond the type to which they were rounded.

    Args:
        rounded: Tensors of any shape by their names.
        exact: The tensor of a name before it was rounded.
        place: What would have held them, the beginning of the message.
        advice: What to do, its end.

    Raises ValueError, which names the first tensor and its largest value.
    """
    for name in (name for name, weight in rounded.items() if not is_finite(weight)):
        kind, largest = str(rounded[name].dtype)[6:], exact(name).abs().max().item()
        raise ValueError(
            f"{place}: {kind} cannot hold {name}, whose largest value is {largest:g}. {advice}"
        )


def is_finite(weight: Tensor) -> bool:
    """Whether all values of a tensor are finite; one pass, without a copy.

    A tensor without values, as `egowm memory` traces it, counts as finite.
    """
    traced = weight.is_meta or isinstance(weight, FakeTensor)
    if traced or not weight.numel() or not weight.is_floating_point():
        return True
    values = weight.detach().float() if weight.element_size() == 1 else weight.detach()  # float8
    return bool(torch.stack(torch.aminmax(values)).isfinite().all())
