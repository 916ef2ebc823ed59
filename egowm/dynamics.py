"""The contract of a world model: all that planners, environments, scores and the guard need of one.

`WorldModel`, the latent models and the simulator answer it; so may a class of your own, which need
not be derived from anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from egowm.actions.spec import ActionSpec
from egowm.clip import Clip
from egowm.diffusion import Generator
from egowm.sampling import Actions, Rollout, Sampling


class Stepper(Protocol):
    """N futures that are imagined side by side, step after step.

    What a future goes on from is the model's own affair: `begin` gives it, `advance` takes it.
    """

    def begin(self, context: Tensor) -> Any:
        """What the first step goes on from: of given frames (N, K, 3, H, W)."""

    def advance(
        self, before: Any, actions: Tensor, state: Tensor | None, texts: Sequence[str]
    ) -> tuple[Any, Rollout]:
        """One step under physical actions (N, n, A) and a normalised state (N, S)."""

    def begin_again(self, before: Any, context: Tensor, here: Tensor) -> Any:
        """The same, with the futures where `here` (N,) is true back at their context."""


@runtime_checkable
class Dynamics(Protocol):
    """A world model, as planners, environments, scores and the guard see it.

    Attributes: spec, what actions mean; state_spec, what the body's state means, None where none is
    taken; device; num_context, the frames K that it looks at; frames_at_once, the actions of a
    step; makes_frames, whether rollouts hold frames, or latents alone; jump, how many frames ahead
    it goes in one step, 0 where it makes frame after frame; steps, the sampling steps where a
    `Sampling` names none; name and base, for messages.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> isinstance(model, Dynamics), model.num_context, model.frames_at_once
    (True, 1, 1)
    """

    spec: ActionSpec | None
    state_spec: ActionSpec | None
    steps: int

    @property
    def device(self) -> torch.device: ...

    @property
    def num_context(self) -> int: ...

    @property
    def frames_at_once(self) -> int: ...

    @property
    def makes_frames(self) -> bool: ...

    @property
    def jump(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> str: ...

    def spec_of(self, source: str | None) -> ActionSpec:
        """What actions mean, with the ranges of one source.

        Args:
            source: Name of a data set that the model was fitted on; None for the first one.
        """
        ...

    def source_of(self, clip: Clip) -> str | None:
        """The one source of a batch of clips; None where the model knows one alone.

        Args:
            clip: The batch.
        """

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames of a size that the model does not take.

        Args:
            height: H, pixels.
            width: W, pixels.
        """

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
        """Imagine what actions lead to; differentiable where `how.gradient` is set.

        Args:
            context, actions, how, state, text, source, generator: As in `WorldModel.rollout`.
        """
        ...

    def rollout_of(
        self,
        clip: Clip,
        actions: Tensor | None = None,
        how: Sampling = Sampling(),
        *,
        generator: Generator = None,
    ) -> Rollout:
        """Imagine the future of a batch of clips of one source, each from its own context.

        Args:
            clip: The batch.
            actions: (B, T, A) in place of the clips' own.
            how: The settings.
            generator: As in `rollout`.
        """
        ...

    def stepper(self, how: Sampling, source: str | None, generator: Generator) -> Stepper:
        """What steps imagined worlds.

        Args:
            how: The settings.
            source: Whose ranges normalise the actions.
            generator: As in `rollout`.
        """
        ...

    def stepper_of(self, clip: Clip, how: Sampling, generator: Generator) -> Stepper:
        """What steps the futures of a batch of clips of one source.

        Args:
            clip: The batch.
            how: The settings.
            generator: As in `rollout`.
        """
        ...

    def encode_goal(self, frame: Tensor) -> Tensor:
        """The latent (c, h, w) of a scene that stands still, as the last one of a rollout.

        Args:
            frame: (3, H, W) in [0, 1].
        """
        ...

    def reconstruct(self, clip: Clip) -> Tensor:
        """The future frames (B, T, 3, H, W) in [0, 1], encoded and decoded: the model's ceiling.

        Args:
            clip: The batch.
        """
        ...

    def about(self) -> Mapping[str, Any]:
        """What tables tell of it, besides its name."""
        ...

    def action_loss(self, clip: Clip, seed: int) -> Tensor:
        """The loss, a scalar, where the actions decide it, as the guard compares it.

        Args:
            clip: The batch.
            seed: Of the noise, the same whatever the actions.
        """
        ...
