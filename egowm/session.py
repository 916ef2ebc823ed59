"""A rollout whose actions come one by one: a robot that is driven, a game, a planner's stream."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from egowm.actions import follows
from egowm.checks import check_shape, counted
from egowm.diffusion import Generator
from egowm.sampling import Actions, Sampling, as_frames, as_sequences, takes_sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics


class Session:
    """One imagined future that goes on as actions come; its past stays on the model's device.

    The frames are those of one rollout of all actions with the same generator. A model that makes
    several frames at once gathers actions until there are `block` of them, so frames come in
    blocks; `finish` imagines what was gathered last.

    Args:
        model: What imagines: a `WorldModel`, or any other `Dynamics`.
        context: Clean frames (1, K, 3, H, W), uint8 or float in [0, 1], or one picture (H, W, 3) in
            uint8, tensor or array.
        how: The settings; all frames are decoded, and no gradient is kept.
        state: (S,) or (1, S) at the last context frame in physical units, for models that embed
            one. Later ones follow where actions are differences of states, else give them to
            `step`.
        text: Of the scene, for backbones that take one.
        source: Whose ranges normalise the actions, of a model fitted on several data sets.
        generator: Of the noise, which is drawn block by block as in a rollout.
        block: Actions imagined at once. None takes the model's `chunk`, and the frames are those of
            its `rollout`. Fewer answer sooner, and are those of a model of that chunk.

    Raises:
        ValueError: Settings, sizes or a block that do not fit the model.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> walk = Session(model, torch.zeros(1, 1, 3, 64, 64))
    >>> walk.step(torch.tensor([[0.2, 0.0, 0.1]])).shape, walk.num_frames
    (torch.Size([1, 3, 64, 64]), 1)
    """

    @takes_sampling
    def __init__(
        self,
        model: "Dynamics",
        context: Tensor | np.ndarray,
        how: Sampling = Sampling(),
        *,
        state: Tensor | np.ndarray | None = None,
        text: str = "",
        source: str | None = None,
        generator: Generator = None,
        block: int | None = None,
    ) -> None:
        frames = as_frames(context)
        check_shape("context", frames, "1 K 3 H W")
        model.check_size(*frames.shape[-2:])
        if how.decode != "all" or how.micro_batch is not None or how.gradient:
            raise ValueError("A session decodes all frames of one future, and keeps no gradient.")
        if not model.makes_frames:
            raise ValueError(f"{model.name} makes no frames: plan with its latents.")
        codec = getattr(getattr(model, "backbone", None), "codec", None)
        if text and codec is not None and codec.texts is None:
            raise ValueError(f"{model.name} takes no text: leave text out.")
        self.model, self.how, self.spec = model, how, model.spec_of(source)
        self._size = tuple(frames.shape[-2:])
        self.block = self._checked_block(block)
        self.texts = [text]
        self.num_frames = self.num_outside = 0
        self._moved = torch.zeros(0)  # of a state, by the actions since
        self._state = self._first_state(state)
        self._stepper = model.stepper(how, source, generator)
        with torch.no_grad():
            self._before: Any = self._stepper.begin(frames)
        self._waiting = torch.zeros(1, 0, self.spec.width, device=model.device)

    @property
    def waiting(self) -> int:
        """Actions that were gathered and are not imagined yet."""
        return self._waiting.shape[1]

    @torch.no_grad()
    def step(self, actions: Actions, state: Tensor | np.ndarray | None = None) -> Tensor:
        """The frames (n, 3, H, W) in [0, 1] that are there with these actions; n may be 0.

        Args:
            actions: (T, A), or (A,) for one, in physical units; tensor, array or list.
            state: (S,) at the beginning of the next block, where it does not follow from actions.

        Raises:
            ValueError: Another shape or number. After this or any other error the session is where
                it was, but for noise that was drawn.
        """
        told, made = self._told(actions), [self._nothing]
        outside, before = self.spec.check(told, self.how.strict), dict(vars(self))
        try:
            if state is not None:
                self._state = self._first_state(state)
            self.num_outside += outside
            self._waiting = torch.cat([self._waiting, told], 1)
            while self.waiting >= self.block:
                made.append(self._imagined(self._waiting[:, : self.block]))
            return torch.cat(made)
        except BaseException:
            vars(self).update(before)
            raise

    @torch.no_grad()
    def finish(self) -> Tensor:
        """The frames (n, 3, H, W) of actions that were gathered, fewer than a block; n may be 0."""
        return self._imagined(self._waiting) if self.waiting else self._nothing

    @property
    def _nothing(self) -> Tensor:
        return torch.zeros(0, 3, *self._size, device=self.model.device)

    def _imagined(self, told: Tensor) -> Tensor:
        """One block, of which frames that stand for missing actions are left out."""
        count = told.shape[1]
        missing = -count % self.model.frames_at_once
        last = told[:, -1:] if self.spec.kind == "command" else 0 * told[:, -1:]
        filled = torch.cat([told, last.expand(-1, missing, -1)], 1)
        embedded, meaning = None, self.model.state_spec
        if self._state is not None and meaning is not None:
            embedded = meaning.normalise(self._state + self._moved)
        after, made = self._stepper.advance(self._before, filled, embedded, self.texts)
        self._before, self._waiting = after, self._waiting[:, count:]
        self.num_frames += count
        self._follow(told)
        return made.frames[0, :count]

    def _follow(self, told: Tensor) -> None:
        """The state at the end of a block, where it follows; else the one that was given holds."""
        meaning = self.model.state_spec
        if meaning is not None and follows(self.spec, meaning):
            for action in told.unbind(1):  # in the order of a rollout, to the bit
                self._moved = self._moved + action

    def _told(self, actions: Actions) -> Tensor:
        values = actions if isinstance(actions, Tensor) else torch.tensor(actions)
        told = as_sequences(values[None] if values.ndim == 1 else values, self.spec, "cpu")
        if len(told) != 1:
            raise ValueError(f"Expected the actions of one future (T, A), got {len(told)}.")
        return told.to(self.model.device)

    def _checked_block(self, block: int | None) -> int:
        at_once = self.model.frames_at_once
        wanted = int(getattr(self.model, "chunk", at_once)) if block is None else block
        if wanted < 1 or wanted % at_once:
            raise ValueError(
                f"Expected a block of actions that is a multiple of {at_once}, which the model "
                f"makes frames of at once, got {counted(wanted, 'action')}."
            )
        return wanted

    def _first_state(self, state: Tensor | np.ndarray | None) -> Tensor | None:
        meaning = self.model.state_spec
        if (state is None) != (meaning is None):
            raise ValueError(
                "This model embeds no state: leave state out."
                if meaning is None
                else f"This model embeds the body's state: give state ({meaning.width},)."
            )
        if state is None or meaning is None:
            return None
        given = torch.as_tensor(state, dtype=torch.float32, device=self.model.device)
        given = given[None] if given.ndim == 1 else given
        check_shape("state", given, "1 S", S=meaning.width)
        meaning.check(given[:, None])
        self._moved = torch.zeros_like(given)
        return given
