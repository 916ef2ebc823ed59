"""How a world model imagines: chunk after chunk, each from the last frames of the one before."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from egowm.actions import ActionSpec, integrate
from egowm.conditioning.guidance import Guide, guided
from egowm.diffusion import Common, Generator, euler

if TYPE_CHECKING:
    from egowm.world_model import WorldModel

Chain = Literal["latents", "latents_only", "pixels"]
Decode = Literal["all", "last", "none"]


class Rollout(NamedTuple):
    """Imagined frames.

    frames: (B, T, 3, H, W) float in [0, 1]; the last alone (B, 1, ...) or none (B, 0, ...) where no
    more was to be decoded. latents: (B, t, c, h, w), as the network has them. num_outside: action
    values beyond 1.5 times the training range.
    """

    frames: Tensor
    latents: Tensor
    num_outside: int


class Past(NamedTuple):
    """What a chunk starts from.

    frames: (1 or N, K, 3, H, W) in [-1, 1]; where the chain is of latents only, those that were
    given. latents: (N, c, h, w) of the last frame, where it was generated and the chain is of
    latents.
    """

    frames: Tensor
    latents: Tensor | None = None


@dataclass(frozen=True)
class Imagination:
    """One way to sample a model; the fields are the arguments of `WorldModel.rollout`.

    spec: the source's, whose ranges normalise the actions. dtype: what denoising and decoding
    compute in; bfloat16 is by autocast, float32 leaves all as it is. With gradients enabled, each
    denoising step and each decoding is recomputed in the backward pass.
    """

    model: "WorldModel"
    spec: ActionSpec
    steps: int
    guidance: float
    guide_on: Guide | Sequence[Guide] | None
    generator: Generator
    chain: Chain | None
    decode: Decode = "all"
    decode_window: int | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.decode_window is not None and (self.decode != "last" or self.decode_window < 1):
            raise ValueError(
                f"Expected a decode_window of at least 1, with decode last, got "
                f"{self.decode_window} with decode {self.decode}."
            )
        if self.dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"Expected dtype float32 or bfloat16, got {self.dtype}.")

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        state: Tensor | None,
        text: str | Sequence[str],
        strict: bool,
        micro_batch: int | None = None,
    ) -> Rollout:
        """Imagine T frames, `chunk` at once, of `micro_batch` sequences at once."""
        actions = self._actions(actions)
        self.spec.check(actions, strict)  # all of them, before any work
        count = len(actions)
        if micro_batch is None or micro_batch >= count:
            return _joined(list(self.stream(context, actions, state, text, strict)))
        if micro_batch < 1:
            raise ValueError(f"Expected a micro_batch of at least 1, got {micro_batch}.")
        parts = []
        for start in range(0, count, micro_batch):
            here = slice(start, start + micro_batch)
            shared = len(context) == 1 or context.ndim != 5 or len(context) != count
            own = context if shared else context[here]
            own_state = state if state is None or len(state) == 1 else state[here]
            own_text = text if isinstance(text, str) or len(text) != count else text[here]
            how = replace(self, generator=self._generator_of(here, count))
            chunks = how.stream(own, actions[here], own_state, own_text, strict)
            parts.append(_joined(list(chunks)))
        frames, latents, outside = zip(*parts, strict=True)
        return Rollout(torch.cat(frames), torch.cat(latents), sum(outside))

    def stream(
        self,
        context: Tensor,
        actions: Tensor,
        state: Tensor | None,
        text: str | Sequence[str],
        strict: bool,
    ) -> Iterator[Rollout]:
        """The chunks of a rollout, each as soon as it is there; all count in num_outside once."""
        model = self.model
        actions = self._actions(actions)
        outside, left = self.spec.check(actions, strict), actions.shape[1]
        past = self.begin(context, len(actions))
        states, texts = self._states(state, actions), self._texts(text, len(past.frames))
        for number, part in enumerate(self._padded(actions).split(model.chunk, 1)):
            here = None if states is None else states[:, number]
            past, made = self.advance(past, part, here, texts, left)
            left -= part.shape[1]
            yield made._replace(num_outside=outside)
            outside = 0

    def begin(self, context: Tensor, count: int) -> Past:
        """The past of `count` sequences from (1 or N, K, 3, H, W) given frames."""
        past = Past(self._context(context, count))
        self.model.backbone.check_lengths(past.frames.shape[1], self.model.chunk)
        return past

    def advance(
        self,
        past: Past,
        actions: Tensor,
        state: Tensor | None,
        texts: Sequence[str],
        left: int | None = None,
    ) -> tuple[Past, Rollout]:
        """One chunk under physical actions (N, T, A): the past of the next one, and what was made.

        state: (N, S) normalised. left: frames that are still wanted; None where it goes on. Of a
        chunk that is not the last, only what the next one needs is decoded, unless all is.
        """
        backbone, chain = self.model.backbone, self._chained
        made = self._chunk(past, self.spec.normalise(actions), state, texts)
        length = actions.shape[1]
        final = left is not None and left <= length
        wanted = length if left is None else min(left, length)
        first = backbone.context if backbone.context_latents else 0
        decode = self._decoded_of(final)
        if decode == "none":
            decoded = past.frames.new_zeros(len(made), 0, *past.frames.shape[2:])
        else:
            with self._precision, backbone.awake():
                if decode == "all":
                    decoded = recomputed(backbone.decode, made).clamp(-1, 1)[:, first:]
                else:
                    index = first + (wanted if final else length) - 1
                    exact = self.decode_window is None or not final  # what a chunk starts from is
                    window = () if exact else (self.decode_window,)
                    decoded = recomputed(backbone.decode_frame, made, index, *window).clamp(-1, 1)
        latents = made[:, backbone.context_latents :]
        shown = decoded[:, :wanted] if self.decode == "all" or final else decoded[:, :0]
        rollout = Rollout((shown + 1) / 2, latents, 0)
        if chain == "latents_only":
            return Past(past.frames, latents[:, -1]), rollout
        frames = torch.cat([past.frames.expand(len(made), -1, -1, -1, -1), decoded], 1)
        known = latents[:, -1] if chain == "latents" else None
        return Past(frames[:, -backbone.context :], known), rollout

    def _decoded_of(self, final: bool) -> Decode:
        """What is decoded of the last chunk, or of one before it."""
        if self.decode == "all" or final:
            return self.decode
        if self._chained == "latents_only":
            return "none"
        return "last" if self.model.backbone.context == 1 else "all"

    def _chunk(
        self, past: Past, actions: Tensor, state: Tensor | None, texts: Sequence[str]
    ) -> Tensor:
        """Latents (N, t, c, h, w) of one chunk; actions (N, T, A), state (N, S) normalised."""
        model, backbone, count = self.model, self.model.backbone, len(actions)
        given = past.frames
        each = isinstance(self.generator, Sequence) or past.latents is not None
        draws = count if each else len(given)
        strength = torch.full((draws,), backbone.noise_strength, device=model.device)
        num_frames = backbone.context + actions.shape[1]
        with backbone.awake():
            condition = backbone.condition(
                given, strength, self.generator, past.latents, texts, num_frames
            )
        if draws < count:
            condition = condition.repeat(count)
        embedding, null = model.embed(actions, state), self._null
        if null:
            everywhere = torch.ones(count, dtype=torch.bool, device=model.device)
            without, bare = condition, embedding
            if "image" in null:
                without = without.without_image(everywhere)
            if "text" in null:
                without = backbone.without_text(without)
            if "action" in null:
                bare = model.embed(actions, state, everywhere)
            condition, embedding = without.stack(condition), torch.cat([bare, embedding])
        size = (given.shape[-2], given.shape[-1])
        noise = backbone.noise(count, embedding.shape[1], size, self.generator)

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            # Both in here, for the recomputation needs them as well.
            with self._precision, backbone.injecting(embedding):
                if not null:
                    clean: Tensor = backbone(noisy, sigma, condition)
                    return clean
                both = backbone(torch.cat([noisy, noisy]), torch.cat([sigma, sigma]), condition)
            without, with_all = both.chunk(2)
            return guided(without, with_all, self.guidance)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return recomputed(estimate, noisy, sigma)

        process = backbone.process_for(embedding.shape[1], size)
        return euler(denoise, process.initial(noise), process.sigmas(self.steps))

    @property
    def _precision(self) -> AbstractContextManager[Any]:
        """With float32 no autocast is entered, so one that the caller opened stays in force."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.dtype)

    # What was asked for, checked ------------------------------------------------------------------

    def _actions(self, actions: Tensor) -> Tensor:
        actions = torch.as_tensor(actions, dtype=torch.float32, device=self.model.device)
        if actions.ndim != 3 or not actions.shape[1]:
            raise ValueError(
                f"Expected actions (N, T, {self.spec.width}), got {tuple(actions.shape)}."
            )
        return actions

    def _generator_of(self, part: slice, count: int) -> Generator:
        """The generator of some of the sequences."""
        source = self.generator
        if isinstance(source, Common):
            return source.fresh()
        if not isinstance(source, Sequence):
            return source
        if len(source) != count:
            raise ValueError(f"Expected one generator for each of {count}, got {len(source)}.")
        return source[part]

    @property
    def _null(self) -> tuple[str, ...]:
        """What the null branch goes without; nothing where guidance is off."""
        backbone, asked = self.model.backbone, self.guide_on
        if self.guidance == 1.0:
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

    @property
    def _chained(self) -> Chain:
        backbone, chain = self.model.backbone, self.chain
        if chain is None:
            return "latents" if backbone.chains_latents else "pixels"
        if chain not in get_args(Chain):
            raise ValueError(f"Expected chain {', '.join(get_args(Chain))}, got {chain!r}.")
        if chain != "pixels" and not backbone.chains_latents:
            raise ValueError(
                f"Expected chain pixels: {type(backbone).__name__} takes {backbone.context} "
                f"context frames and its latents hold {backbone.temporal_stride}, so its last "
                f"latent is not what it takes as a context."
            )
        return chain

    def _context(self, context: Tensor, count: int) -> Tensor:
        """The last context frames (1 or N, K, 3, H, W) in [-1, 1]."""
        if context.ndim != 5 or context.shape[2] != 3 or context.shape[0] not in (1, count):
            raise ValueError(
                f"Expected a context of shape (1 or {count}, K, 3, H, W), got "
                f"{tuple(context.shape)}."
            )
        last = context[:, -self.model.backbone.context :].to(self.model.device)
        if last.dtype == torch.uint8:
            return last.float() / 127.5 - 1
        if last.min() < 0 or last.max() > 1:
            raise ValueError("Expected a float context in [0, 1] (or uint8 frames).")
        return last.float() * 2 - 1

    def _texts(self, text: str | Sequence[str], num_contexts: int) -> list[str]:
        texts, backbone = [text] if isinstance(text, str) else list(text), self.model.backbone
        if any(texts) and not backbone.takes_text:
            raise ValueError(f"{type(backbone).__name__} takes no text: leave text out.")
        expected = len(self.generator) if isinstance(self.generator, Sequence) else num_contexts
        if len(texts) not in (1, expected):
            raise ValueError(
                f"Expected one text, or one for each of {expected} contexts, got {len(texts)}."
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
        if states.shape[0] not in (1, count) or states.shape[1:] != (chunks, meaning.width):
            raise ValueError(f"Expected a state {shape}, got {tuple(states.shape)}.")
        meaning.check(states)
        return meaning.normalise(states).expand(count, -1, -1)

    def _padded(self, actions: Tensor) -> Tensor:
        """Standing still (or the last command) until the last frames are a group; (N, T', A)."""
        missing = -actions.shape[1] % self.model.backbone.frames_at_once
        if not missing:
            return actions
        last = actions[:, -1:] if self.spec.kind == "command" else 0 * actions[:, -1:]
        return torch.cat([actions, last.expand(-1, missing, -1)], 1)


def _joined(chunks: Sequence[Rollout]) -> Rollout:
    """The chunks of one rollout along time."""
    frames, latents, outside = zip(*chunks, strict=True)
    return Rollout(torch.cat(frames, 1), torch.cat(latents, 1), sum(outside))


def recomputed(function: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """`function(*arguments)`; with gradients enabled, what it kept for the backward pass is
    computed again there (gradient checkpointing)."""
    if not torch.is_grad_enabled():
        return function(*arguments)
    made: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return made
