"""Which actions act on which latent frame, for VAEs that fold several frames into one.

With temporal stride s, future latent j covers frames K+sj .. K+sj+s-1, so it takes the actions
sj .. sj+s-1: those that lead to its frames. Context latents take none.
"""

from typing import Literal

from torch import Tensor

from egowm.checks import check_float, check_shape, checked, counted

Alignment = Literal["concatenate", "sum", "last"]


@checked
def align(actions: Tensor, stride: int, how: Alignment) -> Tensor:
    """Normalised actions (B, T, A) to one vector for each future latent, (B, T / stride, A').

    "concatenate": all that a latent covers, A' = stride * A. "sum": their sum, divided by the
    stride so that it stays in about [-1, 1]. "last": the one that leads to its last frame.
    Raises ValueError where T is no multiple of the stride.
    """
    check_shape("actions", actions, "B T A")
    check_float("actions", actions)
    count, horizon, width = actions.shape
    if stride < 1 or horizon % stride:
        raise ValueError(
            f"Expected a multiple of {counted(stride, 'action')} (the VAE's temporal stride), "
            f"got {horizon}."
        )
    groups = actions.reshape(count, horizon // stride, stride, width)
    if how == "concatenate":
        return groups.flatten(2)
    if how == "sum":
        return groups.mean(2)
    if how == "last":
        return groups[:, :, -1]
    raise ValueError(f"Expected alignment concatenate, sum or last, got {how!r}.")


def aligned_width(width: int, stride: int, how: Alignment) -> int:
    """A' of `align`."""
    return width * stride if how == "concatenate" else width
