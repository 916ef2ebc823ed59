"""How a world model imagines: chunk after chunk, each from the last frames of the one before."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from egowm.actions import ActionSpec, integrate
from egowm.backbones.base import Backbone, Condition
from egowm.backbones.codec_wrappers import Offloaded
from egowm.beside import beside, turn
from egowm.checks import counted
from egowm.conditioning.guidance import guided
from egowm.diffusion import Ancestral, Generator, SharedNoise, euler
from egowm.pixels import check_unit
from egowm.sampling import Actions, Chain, Chunk, Decode, Rollout, Sampling, as_frames, as_sequences


class Model(Protocol):
    """What is sampled: as much of a `WorldModel` as imagining takes."""

    backbone: Backbone
    chunk: int  # future frames made at once
    steps: int  # where a `Sampling` names no number
    state_spec: ActionSpec | None

    @property
    def device(self) -> torch.device: ...

    def embed(
        self, actions: Tensor, state: Tensor | None = None, drop: Tensor | None = None
    ) -> Tensor: ...


class Request(NamedTuple):
    """What is to be imagined, checked.

    Args:
        context: (1 or N, K, 3, H, W), as it was given.
        actions: (N, T, A) in physical units.
        states: (N, chunks, S) normalised, at the start of each chunk.
        texts: One, or one for each sequence.
    """

    context: Tensor
    actions: Tensor
    states: Tensor | None
    texts: list[str]

    def part(self, here: slice) -> "Request":
        """Some of the sequences; what they share stays whole."""
        return Request(
            self.context if len(self.context) == 1 else self.context[here],
            self.actions[here],
            None if self.states is None else self.states[here],
            self.texts if len(self.texts) == 1 else self.texts[here],
        )


@dataclass(frozen=True)
class Sampler:
    """Samples a model in one way.

    Args:
        model: What imagines.
        how: The settings.
        spec: Of the actions, by whose ranges they are normalised.
        generator: As in `WorldModel.rollout`.
    """

    model: Model
    how: Sampling
    spec: ActionSpec
    generator: Generator = None

    def __post_init__(self) -> None:
        how, on_cpu = self.how, self.model.device.type == "cpu"
        if how.gradient and how.dtype != torch.float32 and on_cpu:
            raise ValueError(
                f"Expected float32 for gradients on a CPU (torch's may be wrong in {how.dtype} "
                f"there)."
            )

    def rollout(
        self,
        context: Tensor | np.ndarray,
        actions: Actions,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
    ) -> Rollout:
        """All frames at once; micro-batches one after the other."""
        with torch.set_grad_enabled(self.how.gradient):
            request, outside = self._checked(context, actions, state, text)
            parts = [_joined(list(chunks), 1) for chunks in self._parts(request)]
            return _joined(parts, 0)._replace(num_outside=outside)

    def stream(
        self,
        context: Tensor | np.ndarray,
        actions: Actions,
        state: Tensor | None = None,
        text: str | Sequence[str] = "",
    ) -> Iterator[Rollout]:
        """The chunks of a rollout, each as soon as it is there; micro-batches side by side.

        The next chunk is imagined beside what is done with the one before; with gradients, when it
        is asked for.
        """
        mode = torch.enable_grad() if self.how.gradient else torch.no_grad()
        with mode:
            request, outside = self._checked(context, actions, state, text)
        return mode(self._in_step)(request, outside)  # the caller's own mode holds between chunks

    def _in_step(self, request: Request, outside: int) -> Iterator[Rollout]:
        """All action values out of range are counted in the first chunk."""
        for chunks in zip(*self._parts(request, not self.how.gradient), strict=True):
            yield _joined(chunks, 0)._replace(num_outside=outside)
            outside = 0

    def _checked(
        self,
        context: Tensor | np.ndarray,
        actions: Actions,
        state: Tensor | None,
        text: str | Sequence[str],
    ) -> tuple[Request, int]:
        """The request, checked before any work, and how many action values lie out of range."""
        sequences = as_sequences(actions, self.spec, self.model.device)
        outside = self.spec.check(sequences, self.how.strict)
        frames, count = as_frames(context), len(sequences)
        known = frames.ndim == 5 and frames.shape[2] == 3 and frames.shape[0] in (1, count)
        if not known or not frames.numel():
            raise ValueError(
                f"Expected a context of shape (1 or {count}, K, 3, H, W), or one picture (H, W, 3) "
                f"in uint8, got {tuple(frames.shape)}."
            )
        self.model.backbone.latent_shape(*frames.shape[-2:])  # refuses a size of its family
        states, texts = self._states(state, sequences), self._texts(text, len(frames))
        return Request(frames, sequences, states, texts), outside

    def _parts(self, request: Request, ahead: bool = False) -> list[Iterator[Rollout]]:
        """The chunks of each micro-batch; nothing is computed before they are taken. ahead: from
        then on one chunk is imagined before it is asked for."""
        count = len(request.actions)
        size = self.how.micro_batch
        ahead = ahead and not isinstance(self.model.backbone.codec, Offloaded)
        if size is None or size >= count:
            return [self._ahead(request) if ahead else self._chunks(request)]
        slices = [slice(start, start + size) for start in range(0, count, size)]
        samplers = [replace(self, generator=self._generator_of(here, count)) for here in slices]
        pairs = zip(samplers, slices, strict=True)
        # Those that share a generator draw from it in turns, none before the others have.
        ahead = ahead and isinstance(self.generator, SharedNoise | Sequence)
        make = Sampler._ahead if ahead else Sampler._chunks
        return [make(sampler, request.part(here)) for sampler, here in pairs]

    def _chunks(self, request: Request) -> Iterator[Rollout]:
        chunk, left = self.begin(request.context), request.actions.shape[1]
        for number, part in enumerate(self._padded(request.actions).split(self.model.chunk, 1)):
            state = None if request.states is None else request.states[:, number]
            chunk, made = self.advance(chunk, part, state, request.texts, left)
            left -= part.shape[1]
            yield made

    def _ahead(self, request: Request) -> Iterator[Rollout]:
        """The same chunks. The next one is denoised as soon as what it starts from is there: with
        the chain "latents_only" beside the decoding of the one before, else after it."""
        chunk, left = self.begin(request.context), request.actions.shape[1]
        early = self._chained == "latents_only"
        parts = self._padded(request.actions).split(self.model.chunk, 1)
        states = [None] * len(parts) if request.states is None else request.states.unbind(1)
        pairs = zip(parts, states, strict=True)
        told = [(self.spec.normalise(part), state) for part, state in pairs]
        with beside(self.model.device) as start:
            coming = start(self._chunk, chunk, *told.pop(0), request.texts)
            for part in parts:
                made = coming.result()
                if told and early:
                    coming = start(self._chunk, self._end(chunk, made), *told.pop(0), request.texts)
                chunk, rollout = self._decoded(chunk, made, part.shape[1], left)
                if told and not early:
                    coming = start(self._chunk, chunk, *told.pop(0), request.texts)
                left -= part.shape[1]
                yield rollout

    def begin(self, context: Tensor) -> Chunk:
        """What the first chunk starts from: (1 or N, K, 3, H, W) given frames."""
        chunk = Chunk(self._context(context))
        self.model.backbone.check_lengths(chunk.frames.shape[1], self.model.chunk)
        return chunk

    def advance(
        self,
        before: Chunk,
        actions: Tensor,
        state: Tensor | None,
        texts: Sequence[str],
        left: int | None = None,
    ) -> tuple[Chunk, Rollout]:
        """One chunk under physical actions (N, T, A): its end, and what was made.

        state: (N, S) normalised. left: frames that are still wanted; None where it goes on. Of a
        chunk that is not the last, only what the next one needs is decoded, unless all is.
        """
        made = self._chunk(before, self.spec.normalise(actions), state, texts)
        return self._decoded(before, made, actions.shape[1], left)

    def _end(self, before: Chunk, made: Tensor) -> Chunk:
        """What the next chunk starts from where that is known before anything is decoded."""
        return Chunk(before.frames, made[:, -1])

    def _decoded(
        self, before: Chunk, made: Tensor, length: int, left: int | None
    ) -> tuple[Chunk, Rollout]:
        """The end of a chunk of `length` actions and what is shown of it, of its latents."""
        backbone, chain = self.model.backbone, self._chained
        codec = backbone.codec
        final = left is not None and left <= length
        wanted = length if left is None else min(left, length)
        first = backbone.context if backbone.context_latents else 0
        decode = self._decoded_of(final)
        if decode == "none":
            decoded = before.frames.new_zeros(len(made), 0, *before.frames.shape[2:])
        else:
            with self._precision, codec.ready():
                if decode == "all":
                    decoded = recomputed(codec.decode, made).clamp(-1, 1)[:, first:]
                else:
                    index = first + (wanted if final else length) - 1
                    window = self.how.decode_window if final else None  # the chain stays exact
                    near = () if window is None else (window,)
                    decoded = recomputed(codec.decode_frame, made, index, *near).clamp(-1, 1)
        latents = made[:, backbone.context_latents :]
        shown = decoded[:, :wanted] if self.how.decode == "all" or final else decoded[:, :0]
        rollout = Rollout((shown + 1) / 2, latents, 0)
        if chain == "latents_only":
            return self._end(before, made), rollout
        frames = torch.cat([before.frames.expand(len(made), -1, -1, -1, -1), decoded], 1)
        known = latents[:, -1] if chain == "latents" else None
        return Chunk(frames[:, -backbone.context :], known), rollout

    def begin_again(self, before: Chunk, context: Tensor, here: Tensor) -> Chunk:
        """The same end, with the sequences where `here` (N,) is true back at their context; their
        latents are those of its last frame."""
        first = self.begin(context).frames
        at = here.to(first.device)
        frames = torch.where(at[:, None, None, None, None], first, before.frames)
        latents = before.latents
        if latents is not None:
            fresh = self.model.backbone.codec.encode(first[here])[:, -1]
            latents = latents.clone()
            latents[at] = fresh
        return Chunk(frames, latents)

    def _decoded_of(self, final: bool) -> Decode:
        """What is decoded of the last chunk, or of one before it."""
        if self.how.decode == "all" or final:
            return self.how.decode
        if self._chained == "latents_only":
            return "none"
        return "last" if self.model.backbone.context == 1 else "all"

    def _chunk(
        self, before: Chunk, actions: Tensor, state: Tensor | None, texts: Sequence[str]
    ) -> Tensor:
        """Latents (N, t, c, h, w) of one chunk; actions (N, T, A), state (N, S) normalised."""
        model, backbone, count = self.model, self.model.backbone, len(actions)
        given = before.frames
        each = isinstance(self.generator, Sequence) or before.latents is not None
        draws = count if each else len(given)
        strength = torch.full((draws,), backbone.noise_strength, device=model.device)
        num_frames = backbone.context + actions.shape[1]
        with backbone.codec.ready():
            condition = backbone.condition(
                given, strength, self.generator, before.latents, texts, num_frames
            )
        if draws < count:
            condition = condition.repeat(count)
        embedding, null = model.embed(actions, state), dropped_by(backbone, self.how)
        if null:
            without, bare = null_branch(model, null, condition, actions, state, embedding)
            condition, embedding = without.stack(condition), torch.cat([bare, embedding])
        size = (given.shape[-2], given.shape[-1])
        noise = backbone.noise(count, embedding.shape[1], size, self.generator)
        process = backbone.process_for(embedding.shape[1], size)

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            # Both in here, for the recomputation needs them as well.
            with turn(backbone.network), self._precision, backbone.injecting(embedding):
                if not null:
                    clean: Tensor = backbone(noisy, sigma, condition)
                    return clean
                both = backbone(torch.cat([noisy, noisy]), torch.cat([sigma, sigma]), condition)
            without, with_all = both.chunk(2)
            made = guided(without, with_all, self.how.guidance)
            if isinstance(process, Ancestral):  # a spread beyond its bounds is none
                made = torch.cat([process.split(made)[0], process.split(with_all)[1]], 2)
            return made

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return recomputed(estimate, noisy, sigma)

        sigmas = process.sigmas(self.how.steps or model.steps)
        start = process.initial(noise, float(sigmas[0]))
        if isinstance(process, Ancestral):
            return process.sample(denoise, start, sigmas, self.generator)
        return euler(denoise, start, sigmas)

    @property
    def _precision(self) -> AbstractContextManager[Any]:
        """With float32 no autocast is entered, so one that the caller opened stays in force."""
        if self.how.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.how.dtype)

    # What was asked for, checked ------------------------------------------------------------------

    def _generator_of(self, part: slice, count: int) -> Generator:
        """The generator of some of the sequences."""
        source = self.generator
        if isinstance(source, SharedNoise):
            return source.fresh()
        if not isinstance(source, Sequence):
            return source
        if len(source) != count:
            raise ValueError(f"Expected one generator for each of {count}, got {len(source)}.")
        return source[part]

    @property
    def _chained(self) -> Chain:
        backbone, chain = self.model.backbone, self.how.chain
        stride = backbone.codec.temporal_stride
        if chain is None:
            return "latents" if backbone.chains_latents else "pixels"
        if chain != "pixels" and not backbone.chains_latents:
            raise ValueError(
                f"Expected chain pixels: {type(backbone).__name__} takes "
                f"{counted(backbone.context, 'context frame')} and its latents hold {stride}, so "
                f"its last latent is not what it takes as a context."
            )
        return chain

    def _context(self, context: Tensor) -> Tensor:
        """The last context frames (1 or N, K, 3, H, W) in [-1, 1]."""
        last = context[:, -self.model.backbone.context :].to(self.model.device)
        if last.dtype == torch.uint8:
            return last.float() / 127.5 - 1
        check_unit("context", last)
        return last.float() * 2 - 1

    def _texts(self, text: str | Sequence[str], num_contexts: int) -> list[str]:
        texts, backbone = [text] if isinstance(text, str) else list(text), self.model.backbone
        if any(texts) and backbone.codec.texts is None:
            raise ValueError(f"{type(backbone).__name__} takes no text: leave text out.")
        expected = len(self.generator) if isinstance(self.generator, Sequence) else num_contexts
        if len(texts) not in (1, expected):
            raise ValueError(
                f"Expected one text, or one for each context ({expected}), got {len(texts)}."
            )
        return texts

    def _states(self, state: Tensor | None, actions: Tensor) -> Tensor | None:
        """The normalised state at the start of each chunk (N, chunks, S)."""
        model, meaning = self.model, self.model.state_spec
        if meaning is None:
            if state is not None:
                raise ValueError("This model embeds no state: leave state out.")
            return None
        count, horizon = actions.shape[:2]
        chunks = math.ceil(horizon / model.chunk)
        shape = f"(1 or {count}, {meaning.width}) or (1 or {count}, {chunks}, {meaning.width})"
        if state is None:
            raise ValueError(f"This model embeds the body's state: give state {shape}.")
        states = torch.as_tensor(state, dtype=torch.float32, device=model.device)
        if states.ndim == 2 and states.shape[1] == meaning.width and len(states) in (1, count):
            states = integrate(states, actions, self.spec, meaning, model.chunk)
        if (
            not states.ndim
            or states.shape[0] not in (1, count)
            or states.shape[1:] != (chunks, meaning.width)
        ):
            raise ValueError(f"Expected a state {shape}, got {tuple(states.shape)}.")
        meaning.check(states)
        return meaning.normalise(states).expand(count, -1, -1)

    def _padded(self, actions: Tensor) -> Tensor:
        """Standing still (or the last command) until the last frames are a group; (N, T', A)."""
        missing = -actions.shape[1] % self.model.backbone.codec.frames_at_once
        if not missing:
            return actions
        last = actions[:, -1:] if self.spec.kind == "command" else 0 * actions[:, -1:]
        return torch.cat([actions, last.expand(-1, missing, -1)], 1)


def dropped_by(backbone: Backbone, how: Sampling) -> tuple[str, ...]:
    """What the null branch of guidance goes without; nothing where guidance is off."""
    asked = how.guide_on
    if how.guidance == 1.0:
        return ()
    names: tuple[str, ...] = backbone.droppable[:1] or ("action",)
    if asked is not None:
        names = (asked,) if isinstance(asked, str) else tuple(asked)
    known = (*backbone.droppable, "action")
    if not names or set(names) - set(known):
        raise ValueError(
            f"{type(backbone).__name__} can be guided on {', '.join(known)}; got "
            f"guide_on={asked!r}."
        )
    return names


def null_branch(
    model: Model,
    null: Sequence[str],
    condition: Condition,
    actions: Tensor,
    state: Tensor | None,
    embedding: Tensor,
) -> tuple[Condition, Tensor]:
    """Condition and embedding of the branch that goes without the parts `null`.

    actions (N, T, A) and state (N, S) normalised; condition and embedding are those with all.
    """
    everywhere = torch.ones(len(actions), dtype=torch.bool, device=actions.device)
    texts = model.backbone.codec.texts
    if "image" in null:
        condition = condition.without_image(everywhere)
    if "text" in null:
        assert texts is not None
        condition = condition.with_text(*texts([""], actions.device))
    if "action" in null:
        embedding = model.embed(actions, state, everywhere)
    return condition, embedding


def _joined(parts: Sequence[Rollout], axis: int) -> Rollout:
    """Micro-batches (axis 0) or the chunks of one rollout (axis 1)."""
    if len(parts) == 1:
        return parts[0]
    frames, latents, outside = zip(*parts, strict=True)
    return Rollout(torch.cat(frames, axis), torch.cat(latents, axis), sum(outside))


def recomputed(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """`function(*arguments)`; with gradients enabled, what it kept for the backward pass is
    computed again there (gradient checkpointing)."""
    if not torch.is_grad_enabled():
        return function(*arguments)
    made: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return made
