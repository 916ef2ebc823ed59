"""What the latent world models share: `egowm.dynamics.Dynamics`."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from egowm.action_module import ActionModule
from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.clip import Clip
from egowm.diffusion import Generator, SharedNoise
from egowm.module_export import WORLD_MODEL
from egowm.pixels import check_unit, to_unit
from egowm.sampling import Actions, Rollout, Sampling, as_frames, as_sequences, takes_sampling

SEED = 0  # of a goal's latent, where a model draws one


class LatentDynamics(ActionModule):
    """A world model that predicts latents step by step.

    A class gives `build`, `embed`, `begin`, `step`, `latent`, `decode`, `losses` and `action_loss`.
    What a future goes on from is a NamedTuple of tensors whose first axis is N.

    Args:
        size, context, learning_rate, warmup, spec: As in `ActionModule`.
    """

    export_file = WORLD_MODEL
    makes_frames = True
    frames_at_once, jump, steps = 1, 0, 1
    state_spec: ActionSpec | None = None

    # What a model gives -------------------------------------------------------------------------

    @abstractmethod
    def embed(self, frames: Tensor) -> Tensor:
        """Features (M, ...) of frames (M, 3, H, W) in [0, 1]."""

    @abstractmethod
    def begin(self, embedded: Tensor, generator: Generator) -> Any:
        """What N futures go on from, of embedded context frames (N, K, ...)."""

    @abstractmethod
    def step(self, before: Any, actions: Tensor, generator: Generator) -> Any:
        """The same after normalised actions (N, A)."""

    @abstractmethod
    def latent(self, state: Any) -> Tensor:
        """Of each future (N, c, h, w)."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Frames (M, 3, H, W) in [0, 1] of latents (M, c, h, w); M = 0 of a model without a
        decoder."""

    @abstractmethod
    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """See `Dynamics.action_loss`."""

    # The contract ---------------------------------------------------------------------------------

    @property
    def num_context(self) -> int:
        """K, the context frames that it looks at."""
        return self.context

    @takes_sampling
    def rollout(
        self,
        context: Any,
        actions: Actions,
        how: Sampling = Sampling(),
        *,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
        source: str | None = None,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine what actions lead to; arguments as in `WorldModel.rollout`.

        Raises:
            ValueError: Another size or fewer frames than the model takes, guidance, state or text.
        """
        if state is not None or any([text] if isinstance(text, str) else text):
            raise ValueError(f"{self.name} takes neither state nor text: leave them out.")
        told = as_sequences(actions, self.spec_of(source), self.device)
        outside = self.spec_of(source).check(told, how.strict)
        frames, size = as_frames(context), how.micro_batch or len(told)
        known = frames.ndim == 5 and frames.shape[2] == 3 and len(frames) in (1, len(told))
        if not known or not frames.numel():
            raise ValueError(
                f"Expected a context (1 or {len(told)}, K, 3, H, W), got {tuple(frames.shape)}."
            )
        if isinstance(generator, Sequence) and len(generator) != len(told):
            raise ValueError(
                f"Expected one generator for each of {len(told)}, got {len(generator)}."
            )
        parts: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(told), size):
            here = slice(start, start + size)
            stepper = self.stepper(how, source, _part(generator, here))
            seen = frames if len(frames) == 1 else frames[here]
            parts.append(stepper.rollout(seen, told[here])[:2])
        frames, latents = (torch.cat([part[k] for part in parts]) for k in (0, 1))
        return Rollout(frames, latents, outside)

    def rollout_of(
        self,
        clip: Clip,
        actions: Tensor | None = None,
        how: Sampling = Sampling(),
        *,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine the future of a batch of clips, each from its own context."""
        clip.check()
        first = clip.frames[:, : clip.frames.shape[1] - clip.actions.shape[1]]
        told = clip.actions if actions is None else actions
        source = self.source_of(clip)
        return self.rollout(first, told, how, source=source, generator=generator)

    def stepper(self, how: Sampling, source: str | None, generator: Generator) -> "LatentStepper":
        """What steps imagined worlds."""
        if how.guidance != 1 or how.guide_on is not None:
            raise ValueError(f"{self.name} has no guidance: leave guidance and guide_on out.")
        if how.steps not in (None, 1) or how.chain is not None or how.decode_window is not None:
            raise ValueError(
                f"{self.name} makes a frame in one step, each from the latent before: leave steps, "
                f"chain and decode_window out."
            )
        self.check_built()
        return LatentStepper(self, how, self.spec_of(source), generator)

    def stepper_of(self, clip: Clip, how: Sampling, generator: Generator) -> "LatentStepper":
        """What steps the futures of a batch of clips."""
        return self.stepper(how, self.source_of(clip), generator)

    @torch.no_grad()
    def encode_goal(self, frame: Tensor) -> Tensor:
        """The latent (c, h, w) of a scene (3, H, W) in [0, 1] that stands still."""
        self.check_built()
        self.check_size(*frame.shape[1:])
        embedded = self.embed(frame[None].to(self.device))[None].expand(1, self.context, *[-1] * 3)
        return self.latent(self.begin(embedded, torch.Generator().manual_seed(SEED)))[0]

    @torch.no_grad()
    def reconstruct(self, clip: Clip) -> Tensor:
        """The future frames (B, T, 3, H, W), each from the latent of that very frame."""
        frames = to_unit(clip.frames[:, -clip.actions.shape[1] :].to(self.device))
        embedded = self.embed(frames.flatten(0, 1))[:, None].expand(-1, self.context, *[-1] * 3)
        state = self.begin(embedded, torch.Generator().manual_seed(SEED))
        return self.decode(self.latent(state)).reshape(frames.shape)

    def predict_step(self, clip: Clip, batch_idx: int) -> Rollout:
        return self.rollout_of(clip, generator=torch.Generator().manual_seed(batch_idx))


@dataclass(frozen=True)
class LatentStepper:
    """Steps N futures of a latent model side by side (`egowm.dynamics.Stepper`)."""

    model: LatentDynamics
    how: Sampling
    spec: ActionSpec
    generator: Generator

    def rollout(self, context: Tensor, actions: Tensor) -> Rollout:
        """All of the future, of a context (1 or N, K, 3, H, W) and actions (N, T, A)."""
        how, model = self.how, self.model
        with torch.set_grad_enabled(how.gradient), self._precision:
            state, latents = self.begin(context, len(actions)), []
            for action in self.spec.normalise(actions).unbind(1):
                state = model.step(state, action, self.generator)
                latents.append(model.latent(state))
            made = torch.stack(latents, 1)
            first = {"all": 0, "last": made.shape[1] - 1, "none": made.shape[1]}[how.decode]
            frames = model.decode(made[:, first:].flatten(0, 1)).float()
        count = frames.shape[0] // len(actions)
        shape = (len(actions), count, 3, model.size, model.size)
        return Rollout(frames.reshape(shape), made.float(), 0)

    @property
    def _precision(self) -> AbstractContextManager[Any]:
        """With float32 no autocast is entered, so one that the caller opened stays in force."""
        if self.how.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.how.dtype)

    def begin(self, context: Tensor, count: int | None = None) -> Any:
        """What the futures go on from; one context is embedded once for all of them."""
        with torch.set_grad_enabled(self.how.gradient), self._precision:
            return self._begin(context, count)

    def _begin(self, context: Tensor, count: int | None) -> Any:
        last = context[:, -self.model.context :].to(self.model.device)
        if last.shape[1] < self.model.context:
            raise ValueError(
                f"{self.model.name} starts from {counted(self.model.context, 'frame')}, got a "
                f"context of {last.shape[1]}."
            )
        self.model.check_size(last.shape[-2], last.shape[-1])
        check_unit("context", last)
        frames = to_unit(last) if last.dtype == torch.uint8 else last.float()
        embedded = self.model.embed(frames.flatten(0, 1)).unflatten(0, last.shape[:2])
        if count is not None and len(embedded) == 1:
            embedded = embedded.expand(count, *embedded.shape[1:])
        return self.model.begin(embedded, self.generator)

    @torch.no_grad()
    def advance(
        self, before: Any, actions: Tensor, state: Tensor | None, texts: Sequence[str]
    ) -> tuple[Any, Rollout]:
        """One step under physical actions (N, 1, A)."""
        if state is not None or any(texts):
            raise ValueError(f"{self.model.name} takes neither state nor text: leave them out.")
        with self._precision:
            after = self.model.step(before, self.spec.normalise(actions)[:, 0], self.generator)
            latent = self.model.latent(after)
            frames = self.model.decode(latent).float()
        shape = (
            (len(latent), -1, *frames.shape[1:])
            if len(frames)
            else (len(latent), 0, 3, *frames.shape[2:])
        )
        return after, Rollout(frames.reshape(shape), latent[:, None].float(), 0)

    @torch.no_grad()
    def begin_again(self, before: Any, context: Tensor, here: Tensor) -> Any:
        """The futures where `here` (N,) is true start from their context again."""
        pairs = zip(self.begin(context), before, strict=True)
        at = here.to(self.model.device)
        found = (torch.where(at.reshape(-1, *[1] * (x.ndim - 1)), x, y) for x, y in pairs)
        return type(before)(*found)


def _part(generator: Generator, here: slice) -> Generator:
    """The generator of some of the sequences."""
    if isinstance(generator, SharedNoise):
        return generator.fresh()
    return generator[here] if isinstance(generator, Sequence) else generator
