"""World models that are a stock pipeline whose camera follows the motions, candidate by candidate.

Nothing is injected and nothing is trained: they have `spec` and `rollout` as `WorldModel` has.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, uint8
from tqdm import tqdm

from egowm.actions import ActionSpec
from egowm.backbones.cosmos3.pose import CameraSteps
from egowm.checks import counted
from egowm.diffusion import Generator, SharedNoise
from egowm.sampling import Actions, Rollout, Sampling, as_frames, as_sequences, takes_sampling


class StockWorld(ABC):
    """A stock pipeline with the calls of a world model.

    Attributes: name, for messages; pipeline, of diffusers; spec, what actions mean; camera, their
    conversion to steps of a camera; stride, frames of a latent one.
    """

    name: str
    pipeline: Any
    spec: ActionSpec
    camera: CameraSteps
    stride: int

    @abstractmethod
    def settings(self, how: Sampling, height: int, width: int) -> dict[str, Any]:
        """Of a call of the pipeline for frames of a size; ValueError for one that it has not."""

    @abstractmethod
    def imagine(
        self, frame: Tensor, camera_steps: Tensor, call: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Frames (T, 3, H, W) in [0, 1] and their latents (t, c, h, w) after one frame."""

    def to(self, device: torch.device | str) -> Self:
        """Move the pipeline; returns self."""
        self.pipeline.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        found: torch.device = self.pipeline.transformer.device
        return found

    @takes_sampling
    @torch.no_grad()
    def rollout(
        self,
        context: Tensor | np.ndarray,
        actions: Actions,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
        source: str | None = None,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine the frames that `actions` lead to, one candidate after the other.

        Args:
            context: As in `WorldModel.rollout`; its last frame is used.
            actions: As in `WorldModel.rollout`.
            how: The settings. Guidance is on the text, the only thing that the pipeline can go
                without; it decodes all frames whatever is wanted, and goes on from decoded ones.
            state: Refused, for the pipeline takes none.
            text: One, or one for each candidate.
            source: Refused, for there is one spec.
            generator: One, one for each candidate, or a `SharedNoise`.

        Raises ValueError for shapes, sizes, lengths and settings that do not fit.
        """
        _refuse(self.name, how, state, source)
        actions = as_sequences(actions, self.spec, "cpu")
        num_outside = self.spec.check(actions, how.strict)
        count, horizon = actions.shape[:2]
        check_whole(self.name, "T", horizon, self.stride)
        frames = _last_frames(as_frames(context), count).expand(count, -1, -1, -1)
        call = self.settings(how, *frames.shape[-2:])
        texts, generators = _texts_of(text, count), _generators_of(generator, count)
        candidates = zip(frames, self.camera(actions, self.spec), texts, generators, strict=True)
        made = [
            self.imagine(frame, part, call | {"prompt": words, "generator": source})
            for frame, part, words, source in tqdm(
                candidates, self.name, count, leave=False, disable=count == 1 or None
            )
        ]
        videos, latents = (torch.stack(column) for column in zip(*made, strict=True))
        first = {"all": 0, "last": horizon - 1, "none": horizon}[how.decode]
        return Rollout(videos[:, first:], latents, num_outside)


def _last_frames(context: Tensor, count: int) -> Tensor:
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


def _texts_of(text: str | Sequence[str], count: int) -> list[str]:
    """One text for each candidate."""
    return _one_each("text", [text] if isinstance(text, str) else text, count)


def _generators_of(generator: Generator, count: int) -> list[torch.Generator | None]:
    """One for each candidate; one alone serves them in turn."""
    if isinstance(generator, SharedNoise):
        generator = [generator.fresh().generator for _ in range(count)]
    many = isinstance(generator, Sequence)
    return _one_each("generator", generator if many else [generator], count, exactly=many)


def _refuse(name: str, how: Sampling, state: Tensor | None, source: str | None) -> None:
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
