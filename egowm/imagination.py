"""How a world model imagines: chunk after chunk, each from the last frames of the one before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from egowm.actions import ActionSpec, integrate
from egowm.conditioning.guidance import Guide, guided
from egowm.diffusion import Generator, euler

if TYPE_CHECKING:
    from egowm.world_model import WorldModel

Chain = Literal["latents", "pixels"]


class Rollout(NamedTuple):
    """Imagined frames.

    frames: (B, T, 3, H, W) float in [0, 1]. latents: (B, t, c, h, w), as the network has them.
    num_outside: action values beyond 1.5 times the training range.
    """

    frames: Tensor
    latents: Tensor
    num_outside: int


@dataclass(frozen=True)
class Imagination:
    """One way to sample a model; the fields are the arguments of `WorldModel.rollout`.

    spec: the source's, whose ranges normalise the actions.
    """

    model: "WorldModel"
    spec: ActionSpec
    steps: int
    guidance: float
    guide_on: Guide | Sequence[Guide] | None
    generator: Generator
    chain: Chain | None

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        state: Tensor | None,
        text: str | Sequence[str],
        strict: bool,
    ) -> Rollout:
        """Imagine T frames, `chunk` at once."""
        model, backbone, spec = self.model, self.model.backbone, self.spec
        actions = torch.as_tensor(actions, dtype=torch.float32, device=model.device)
        if actions.ndim != 3 or not actions.shape[1]:
            raise ValueError(f"Expected actions (N, T, {spec.width}), got {tuple(actions.shape)}.")
        num_outside = spec.check(actions, strict)
        past, horizon = self._context(context, len(actions)), actions.shape[1]
        backbone.check_lengths(past.shape[1], model.chunk)
        states, chain = self._states(state, actions), self._chained
        texts = self._texts(text, len(past))
        frames, latents = [], []
        known = None
        for number, part in enumerate(self._padded(actions).split(model.chunk, 1)):
            past = past[:, -backbone.context :]
            here = None if states is None else states[:, number]
            made = self._chunk(past, known, spec.normalise(part), here, texts)
            decoded = backbone.decode(made).clamp(-1, 1)
            if backbone.context_latents:
                decoded, made = decoded[:, backbone.context :], made[:, backbone.context_latents :]
            frames.append(decoded)
            latents.append(made)
            past = torch.cat([past.expand(len(decoded), -1, -1, -1, -1), decoded], 1)
            known = made[:, -1] if chain == "latents" else None
        together = (torch.cat(frames, 1)[:, :horizon] + 1) / 2
        return Rollout(together, torch.cat(latents, 1), num_outside)

    def _chunk(
        self,
        past: Tensor,
        known: Tensor | None,
        actions: Tensor,
        state: Tensor | None,
        texts: Sequence[str],
    ) -> Tensor:
        """Latents (N, t, c, h, w) of one chunk after frames `past` (1 or N, K, 3, H, W), whose
        latents are `known` where they were generated; actions (N, T, A), state (N, S) normalised.
        """
        model, backbone, count = self.model, self.model.backbone, len(actions)
        draws = count if isinstance(self.generator, Sequence) else len(past)
        strength = torch.full((draws,), backbone.noise_strength, device=model.device)
        num_frames = backbone.context + actions.shape[1]
        condition = backbone.condition(past, strength, self.generator, known, texts, num_frames)
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
        size = (past.shape[-2], past.shape[-1])
        noise = backbone.noise(count, embedding.shape[1], size, self.generator)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            if not null:
                clean: Tensor = backbone(noisy, sigma, condition)
                return clean
            both = backbone(torch.cat([noisy, noisy]), torch.cat([sigma, sigma]), condition)
            without, with_all = both.chunk(2)
            return guided(without, with_all, self.guidance)

        process = backbone.process_for(embedding.shape[1], size)
        with backbone.injecting(embedding):
            return euler(denoise, process.initial(noise), process.sigmas(self.steps))

    # What was asked for, checked ------------------------------------------------------------------

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
            raise ValueError(f"Expected chain {' or '.join(get_args(Chain))}, got {chain!r}.")
        if chain == "latents" and not backbone.chains_latents:
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
