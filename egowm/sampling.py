"""How to imagine, and what comes of it: the records that a rollout takes and gives."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Literal, NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from egowm.actions.spec import ActionSpec
from egowm.checks import check_between, checked
from egowm.conditioning.guidance import Guide

Chain = Literal["latents", "latents_only", "pixels"]
Decode = Literal["all", "last", "none"]
Actions = Tensor | np.ndarray | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]
MOST_STEPS = 10_000  # beyond any schedule's; a larger number is a mistake that would hang
P = ParamSpec("P")
R = TypeVar("R")


@checked
@dataclass(frozen=True)
class Sampling:
    """How a model imagines; what it imagines (pictures, actions, noise) is said in each call.

    >>> from egowm import Sampling
    >>> fast = Sampling(steps=4, guidance=1.5, guide_on="action", chain="latents")
    >>> fast.steps, fast.decode
    (4, 'all')
    >>> Sampling(steps=0)
    Traceback (most recent call last):
    ValueError: Expected at least 1 sampling step, got 0.

    Args:
        steps: Denoising steps for each chunk of frames; None takes the model's own number. Fewer
            are faster.
        guidance: Scale g of classifier-free guidance, `null + g (cond - null)`. 1 turns it off;
            any other scale costs two forward passes a step in place of one.
        guide_on: What the null branch goes without: image, action, text, or several of these.
            None takes the first choice of the backbone.
        chain: How a chunk starts from the last frames of the one before. "latents" takes them as
            they were generated; "pixels" decodes and encodes them again, and each such pass through
            the VAE costs sharpness. "latents_only" decodes nothing between chunks: what else a
            context gives, as SVD's image embedding, stays that of the given frames, which is an
            approximation. None is "latents" where the VAE takes frame by frame and the context is
            one frame, else "pixels".
        decode: Which frames are wanted: all, the last one, or none (latents alone). No more is
            decoded than that and what later chunks start from.
        decode_window: With decode "last", how many latent frames the last frame is decoded from
            where SVD's temporal decoder would take the whole chunk; None takes them all. Cheaper,
            and an approximation.
        dtype: What denoising and decoding compute in. bfloat16 is by autocast; with float32 an
            autocast that the caller opened stays in force.
        micro_batch: Sequences computed at once, which bounds the memory; None takes all. A single
            generator then draws other noise than for all at once.
        strict: Refuse actions beyond 1.5 times the training range, which are otherwise counted.
        gradient: Keep the way from actions to frames and latents for a backward pass, which
            computes each denoising step and each decoding again.
    """

    steps: int | None = None
    guidance: float = 1.0
    guide_on: Guide | Sequence[Guide] | None = None
    chain: Chain | None = None
    decode: Decode = "all"
    decode_window: int | None = None
    dtype: torch.dtype = torch.float32
    micro_batch: int | None = None
    strict: bool = False
    gradient: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"Expected at least 1 sampling step, got {self.steps}.")
        check_between("steps", self.steps or 1, 1, MOST_STEPS)
        if not math.isfinite(self.guidance):
            raise ValueError(f"Expected guidance to be a finite number, got {self.guidance!r}.")
        if self.decode_window is not None and (self.decode != "last" or self.decode_window < 1):
            raise ValueError(
                f"Expected a decode_window of at least 1, with decode last, got "
                f"{self.decode_window} with decode {self.decode}."
            )
        if self.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"Expected dtype float32 or bfloat16, got {self.dtype}.")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"Expected a micro_batch of at least 1, got {self.micro_batch}.")


class Rollout(NamedTuple):
    """Imagined frames.

    >>> import torch
    >>> from egowm import Rollout
    >>> made = Rollout(torch.rand(1, 8, 3, 64, 64), torch.rand(1, 8, 4, 8, 8), num_outside=0)
    >>> made.frames[:, -1].shape
    torch.Size([1, 3, 64, 64])

    Args:
        frames: (B, T, 3, H, W) float in [0, 1]; the last alone (B, 1, ...) or none (B, 0, ...)
            where no more was to be decoded.
        latents: (B, t, c, h, w), as the network has them.
        num_outside: Action values beyond 1.5 times the training range.
    """

    frames: Tensor
    latents: Tensor
    num_outside: int

    def __repr__(self) -> str:
        """Shapes in place of a screen of numbers."""
        frames, latents = (tuple(part.shape) for part in (self.frames, self.latents))
        return f"Rollout(frames {frames}, latents {latents}, num_outside={self.num_outside})"


class Chunk(NamedTuple):
    """The end of a chunk, which the next one starts from.

    Args:
        frames: (1 or N, K, 3, H, W) in [-1, 1]; with the chain "latents_only", the given ones.
        latents: (N, c, h, w) of the last frame where it was generated and the chain is of latents.
    """

    frames: Tensor
    latents: Tensor | None = None


@checked
def as_frames(context: Tensor | np.ndarray) -> Tensor:
    """Context frames (B, K, 3, H, W); one picture (H, W, 3) in uint8 becomes (1, 1, 3, H, W)."""
    frames = _tensor(context)
    if frames.ndim == 3 and frames.shape[2] == 3 and frames.dtype == torch.uint8:
        return frames.permute(2, 0, 1)[None, None].contiguous()
    return frames


@checked
def as_sequences(actions: Actions, spec: ActionSpec, device: torch.device | str) -> Tensor:
    """Actions (N, T, A), float32 on `device`; one sequence (T, A) becomes (1, T, A)."""
    sequences = _tensor(actions).to(device, torch.float32)
    if sequences.ndim == 2:
        sequences = sequences[None]
    if sequences.ndim != 3 or not sequences.numel():
        raise ValueError(
            f"Expected actions (N, T, {spec.width}), or (T, {spec.width}) for one sequence, got "
            f"{tuple(np.shape(actions))}."
        )
    return sequences


def takes_sampling(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with an error that names `Sampling` where its fields are given as keywords."""

    typed = checked(function)

    @wraps(typed)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        loose = [field.name for field in fields(Sampling) if field.name in kwargs]
        if loose:
            given = ", ".join(f"{field}={kwargs[field]!r}" for field in loose)
            name = function.__qualname__
            if args and hasattr(args[0], function.__name__):  # a method, perhaps of a subclass
                name = f"{type(args[0]).__name__}.{function.__name__}"
            name = name.removesuffix(".__init__")
            raise TypeError(f"{name} takes no {', '.join(loose)}: pass how=Sampling({given}).")
        return typed(*args, **kwargs)

    return call


def _tensor(values: Actions) -> Tensor:
    return values if isinstance(values, Tensor) else torch.tensor(values)
