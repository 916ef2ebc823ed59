"""Training that goes on from the model's own imagined frames, as a rollout does."""

from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import counted
from egowm.clip import NONE, Clip
from egowm.pixels import to_model
from egowm.sampler import Model, Sampler
from egowm.sampling import Chunk, Sampling


class Trained(Model, Protocol):
    """The members of a `WorldModel` that imagining its contexts takes."""

    @property
    def global_step(self) -> int: ...

    def spec_of(self, source: str | None) -> ActionSpec: ...

    def source_of(self, clip: Clip) -> str | None: ...


@dataclass(frozen=True)
class OwnContexts:
    """Some batches start from frames that the model imagined, not from recorded ones.

    A rollout longer than one chunk goes on from imagined frames, which a model never meets that is
    trained on recorded contexts alone. The clips are longer here, (1 + deepest) chunks: of a batch
    that starts so, up to `deepest` chunks are imagined, without gradient, and the loss is that of
    the chunk after them. The depth is drawn by the number of the step, the same in all processes.

    >>> OwnContexts(share=0.6, deepest=7, steps=1).chunk(horizon=8)
    1

    Args:
        share: Share of the batches that start from imagined frames, in [0, 1].
        deepest: Most chunks imagined before, at least 1; all depths are equally frequent.
        steps: Sampling steps of each imagined chunk; null takes the model's own number.

    Raises:
        ValueError: A share outside [0, 1], or deepest below 1.
    """

    share: float = 0.5
    deepest: int = 1
    steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Expected share, of the batches, in [0, 1], got {self.share}.")
        if self.deepest < 1:
            raise ValueError(f"Expected deepest, in chunks, to be at least 1, got {self.deepest}.")

    def chunk(self, horizon: int) -> int:
        """Future frames of one chunk, where clips have `horizon` of them."""
        chunk, rest = divmod(horizon, 1 + self.deepest)
        if rest or not chunk:
            raise ValueError(
                f"Expected clips of 1 + {counted(self.deepest, 'chunk')}, for own contexts up to "
                f"{self.deepest} deep; got {counted(horizon, 'future frame')}: set "
                f"--data.window.horizon to a multiple of {1 + self.deepest}."
            )
        return chunk

    def start(
        self, model: Trained, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Clip, Chunk | None]:
        """The chunk of a batch that is learned, and what was imagined up to it, if anything was."""
        if clip.is_cached:
            raise ValueError(
                "Own contexts are encoded anew, so a latent cache does not hold them: leave the "
                "cache out (SVD's memo_frames keeps what was encoded)."
            )
        depth = self._depth(model.global_step if generator is None else generator.initial_seed())
        states = _states(model, clip)
        first = depth * model.chunk
        part = _part(clip, first, model.chunk)._replace(state=states[:, depth])
        if not depth:
            return part, None
        with torch.no_grad():
            return part, self._imagined(model, clip, states, first, generator)

    def _depth(self, seed: int) -> int:
        """In chunks; 0 where the batch starts from recorded frames."""
        draw = Random(seed)
        return draw.randint(1, self.deepest) if draw.random() < self.share else 0

    def _imagined(
        self,
        model: Trained,
        clip: Clip,
        states: Tensor,
        horizon: int,
        generator: torch.Generator | None,
    ) -> Chunk:
        """After `horizon` actions. Where latents chain, only the last chunk's end is decoded."""
        backbone, meaning = model.backbone, model.state_spec
        how = Sampling(self.steps, decode="last")
        inner = replace(how, chain="latents_only") if backbone.chains_latents else how
        spec = model.spec_of(model.source_of(clip))
        num_context = clip.frames.shape[1] - clip.actions.shape[1]
        chunk = Chunk(to_model(clip.frames[:, :num_context])[:, -backbone.context :])
        texts = list(clip.text) if backbone.codec.texts is not None else [""]
        parts = clip.actions[:, :horizon].split(model.chunk, 1)
        for number, actions in enumerate(parts, 1):
            state = None if meaning is None else meaning.normalise(states[:, number - 1])
            sampler = Sampler(model, inner if number < len(parts) else how, spec, generator)
            chunk, _ = sampler.advance(chunk, actions, state, texts)
        return chunk


def _states(model: Trained, clip: Clip) -> Tensor:
    """At the start of each chunk (B, chunks, S), in physical units."""
    chunks = clip.actions.shape[1] // model.chunk
    if model.state_spec is None:
        return clip.state[:, None].expand(-1, chunks, -1)
    return clip.states(model.spec_of(model.source_of(clip)), model.state_spec, model.chunk)


def _part(clip: Clip, first: int, length: int) -> Clip:
    """`length` future frames from number `first` on, with the frames before them as context."""
    num_context = clip.frames.shape[1] - clip.actions.shape[1]
    actions = torch.cat([clip.past_actions, clip.actions], 1)
    now = clip.past_actions.shape[1] + first
    return clip._replace(
        frames=clip.frames[:, first : first + num_context + length],
        actions=actions[:, now : now + length],
        past_actions=actions[:, first:now],
        later_states=NONE,
    )
