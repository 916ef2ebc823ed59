"""What world models share that call a stock pipeline, candidate by candidate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, uint8

from egowm.checks import counted
from egowm.diffusion import Generator, SharedNoise
from egowm.sampling import Sampling


def last_frames(context: Tensor, count: int) -> Tensor:
    """(1 or N, 3, H, W) in [0, 1]."""
    if context.ndim != 5 or context.shape[2] != 3 or context.shape[0] not in (1, count):
        raise ValueError(
            f"Expected a context of shape (1 or {count}, K, 3, H, W), or one picture (H, W, 3) in "
            f"uint8, got {tuple(context.shape)}."
        )
    last = context[:, -1]
    if last.dtype == uint8:
        return last.float() / 255
    if last.min() < 0 or last.max() > 1:
        raise ValueError("Expected a float context in [0, 1] (or uint8 frames).")
    return last.float()


def texts_of(text: str | Sequence[str], count: int) -> list[str]:
    """One text for each candidate."""
    return _one_each("text", [text] if isinstance(text, str) else text, count)


def generators_of(generator: Generator, count: int) -> list[torch.Generator | None]:
    """One for each candidate; one alone serves them in turn."""
    if isinstance(generator, SharedNoise):
        generator = [generator.fresh().generator for _ in range(count)]
    many = isinstance(generator, Sequence)
    return _one_each("generator", generator if many else [generator], count, exactly=many)


def refuse(name: str, how: Sampling, state: Tensor | None, source: str | None) -> None:
    """Refuse settings that a stock pipeline has no place for."""
    on = how.guide_on
    names = (on,) if isinstance(on, str) else tuple(on or ("text",))
    if how.guidance != 1.0 and names != ("text",):
        raise ValueError(f"{name} can be guided on text; got guide_on={on!r}.")
    if state is not None:
        raise ValueError(f"{name} takes no state of the body: leave state out.")
    if source is not None:
        raise ValueError(f"{name} has one range of actions: leave source out.")
    if how.chain not in (None, "pixels"):
        raise ValueError(
            f"{name} goes on from decoded frames: expected chain pixels, got {how.chain!r}."
        )
    if how.dtype != torch.float32 or how.decode_window is not None or how.gradient:
        raise ValueError(
            f"{name} is sampled by diffusers' own pipeline, in the dtype of its weights and "
            f"without gradients: leave dtype, decode_window and gradient out, got {how.dtype}, "
            f"{how.decode_window} and {how.gradient}."
        )


def check_whole(who: str, name: str, length: int, stride: int) -> None:
    """Refuse what the VAE would drop: it takes 1 + a multiple of its stride frames."""
    if length < 1 or length % stride:
        whole = length // stride * stride
        raise ValueError(
            f"{who}'s VAE makes {counted(stride, 'frame')} of a latent one: expected {name} a "
            f"multiple of {stride}, got {length}; the pipeline would make "
            f"{counted(whole, 'frame')} and not say so. Give {max(whole, stride)} or "
            f"{whole + stride}."
        )


def _one_each(name: str, given: Any, count: int, exactly: bool = False) -> list[Any]:
    """One of each for each candidate."""
    if len(given) == count:
        return list(given)
    if len(given) != 1 or exactly:
        raise ValueError(
            f"Expected one {name} for each of {counted(count, 'candidate')}, got {len(given)}."
        )
    return list(given) * count
