"""Worlds that exist in a model only: N of them, stepped together. `WorldModelEnv` and `TorchRLEnv`
wrap them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from egowm.actions import integrate
from egowm.checks import MOST_SEED, check_between, check_shape, checked, shown
from egowm.pixels import to_uint8, to_unit
from egowm.planning.costs import Term
from egowm.sampling import Rollout, Sampling, takes_sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics

Judge = Callable[[Tensor], Tensor]


class Step(NamedTuple):
    """The frames, rewards and ends of N worlds after a step.

    frames: (N, n, H, W, 3) uint8, the n frames of this step. reward: (N,) float64. terminated,
    truncated: (N,) bool.
    """

    frames: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


@checked
class ImaginedWorlds:
    """N imagined worlds, each from a context of its own.

    A step takes `block` actions, (N, block, A), as many as the model's VAE makes frames at once. A
    world that ended begins anew with the next step, which does nothing else to it.

    Args:
        model: What imagines.
        contexts: (N, K, 3, H, W), tensor or array, uint8 or float in [0, 1].
        how: The settings of `WorldModel.rollout`; all frames are decoded, all worlds step at once,
            and no gradient is kept.
        reward: Of the last frame (N, 3, H, W) in [0, 1], (N,); 0 by default. A term of
            `egowm.planning.costs` counts negatively, and sees the step's frames, latents and
            actions.
        ended: As reward, whether a world has ended; none does by default.
        max_steps: Steps after which a world is truncated.
        state: (N, S) at the contexts in physical units, tensor or array, for models
            that embed one; later ones follow where actions are differences of states.
        source: Whose ranges normalise the actions, of a model fitted on several data sets.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> worlds = ImaginedWorlds(model, torch.zeros(2, 1, 3, 64, 64), max_steps=16)
    >>> worlds.reset(seed=0).shape, worlds.step(torch.zeros(2, 1, 3)).frames.shape
    ((2, 64, 64, 3), (2, 1, 64, 64, 3))
    """

    @takes_sampling
    def __init__(
        self,
        model: "Dynamics",
        contexts: Tensor,
        how: Sampling = Sampling(),
        *,
        reward: Judge | Term | None = None,
        ended: Judge | None = None,
        max_steps: int | None = None,
        state: Tensor | None = None,
        source: str | None = None,
    ) -> None:
        check_shape("contexts", contexts, "N K 3 H W")
        model.check_size(*contexts.shape[-2:])
        if not model.makes_frames:
            raise ValueError(
                f"{model.name} makes no frames, and these worlds are seen: plan with its latents "
                f"(goal_cost), or take a model with a decoder."
            )
        if how.decode != "all" or how.micro_batch is not None or how.gradient:
            raise ValueError(
                f"Expected decode all, and neither micro_batch nor gradient, for worlds that are "
                f"stepped; got {how.decode}, {how.micro_batch} and {how.gradient}."
            )
        if (state is None) != (model.state_spec is None):
            raise ValueError(
                "Expected a state (N, S) for a model that embeds one, and none for one that does "
                "not."
            )
        self.model, self.contexts, self.first_state = model, contexts, state
        self.reward, self.ended, self.max_steps = reward, ended, max_steps
        self.spec, self.block = model.spec_of(source), model.frames_at_once
        self.generator, self.strict = torch.Generator().manual_seed(0), how.strict
        self.stepper = model.stepper(how, source, self.generator)
        self.last: Tensor | None = None  # frames (N, 3, H, W) in [0, 1]

    def __len__(self) -> int:
        return len(self.contexts)

    @torch.no_grad()
    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin all worlds; returns the last context frame (N, H, W, 3) uint8.

        Args:
            seed: Of the noise; None goes on with the generator as it is.
        """
        if seed is not None:
            check_between("seed", seed, -MOST_SEED, MOST_SEED)
            self.generator.manual_seed(seed)
        self.before = self.stepper.begin(self.contexts)
        self.last = self._first
        self.state = None if self.first_state is None else self.first_state.float().clone()
        self.taken = np.zeros(len(self), np.int64)
        self.over = np.zeros(len(self), bool)
        return self.seen

    @torch.no_grad()
    def reset_some(self, here: np.ndarray) -> np.ndarray:
        """Begin some worlds anew and leave the others as they are; returns what `reset` does.

        Args:
            here: (N,) bool, true for the worlds that begin.

        Raises:
            ValueError: Before the first reset, or another shape.
        """
        last = self._begun()
        check_shape("here", here, "N", N=len(self))
        if here.dtype != bool:  # numbers would be taken for indices
            raise ValueError(f"Expected here (N,) of bool, got {shown(here)}.")
        begun = torch.from_numpy(here.copy())
        self._begin_again(begun)
        self.last = torch.where(begun.to(last.device)[:, None, None, None], self._first, last)
        self.taken[here], self.over[here] = 0, False
        return self.seen

    @property
    def seen(self) -> np.ndarray:
        """The last frame of each world (N, H, W, 3) uint8; ValueError before the first reset."""
        return to_uint8(self._begun())

    @property
    def _first(self) -> Tensor:
        """What is seen at the beginning (N, 3, H, W) in [0, 1]."""
        last = self.contexts[:, -1].to(self.model.device)
        return to_unit(last) if last.dtype == torch.uint8 else last.float()

    def _begun(self) -> Tensor:
        if self.last is None:
            raise ValueError("Expected reset() first: the worlds have not begun.")
        return self.last

    @torch.no_grad()
    def step(self, actions: Tensor | np.ndarray) -> Step:
        """Imagine the frames that follow the actions.

        Args:
            actions: (N, block, A) in physical units, tensor or array.

        Raises:
            ValueError: Before the first reset, or another shape.
        """
        self._begun()
        check_shape("actions", actions, "N n A", N=len(self), n=self.block, A=self.spec.width)
        told = torch.as_tensor(actions, dtype=torch.float32, device=self.model.device)
        self.spec.check(told, self.strict)
        begun = torch.from_numpy(self.over)
        self.before, made = self.stepper.advance(self.before, told, self._embedded(), [""])
        self._advance_state(told)
        frames = made.frames
        if self.over.any():
            self._begin_again(begun)
            here = begun.to(frames.device)[:, None, None, None, None]
            frames = torch.where(here, self._first[:, None], frames)
        self.last = frames[:, -1]
        self.taken = np.where(self.over, 0, self.taken + 1)
        reward = self._rewarded(made._replace(frames=frames), told).astype(np.float64)
        ended = self._judged(self.ended, frames).astype(bool) & ~self.over
        reward[self.over] = 0.0
        limit = self.taken >= self.max_steps if self.max_steps else np.zeros(len(self), bool)
        truncated = limit & ~ended & ~self.over
        self.over = ended | truncated
        return Step(_pixels(frames), reward, ended, truncated)

    def _begin_again(self, begun: Tensor) -> None:
        """The worlds that ended go back to their contexts."""
        self.before = self.stepper.begin_again(self.before, self.contexts, begun)
        if self.state is not None and self.first_state is not None:
            self.state[begun] = self.first_state.float()[begun]

    def _embedded(self) -> Tensor | None:
        if self.state is None:
            return None
        meaning = self.model.state_spec
        assert meaning is not None
        return meaning.normalise(self.state.to(self.model.device))

    def _advance_state(self, actions: Tensor) -> None:
        if self.state is None:
            return
        meaning = self.model.state_spec
        assert meaning is not None
        longer = torch.cat([actions, torch.zeros_like(actions)], 1)
        starts = integrate(self.state.to(actions), longer, self.spec, meaning, self.block)
        self.state = starts[:, 1].cpu()

    def _rewarded(self, made: Rollout, actions: Tensor) -> np.ndarray:
        if isinstance(self.reward, Term):
            return self._checked(-self.reward(made, actions))
        return self._judged(self.reward, made.frames)

    def _judged(self, judge: Judge | None, frames: Tensor) -> np.ndarray:
        return np.zeros(len(self)) if judge is None else self._checked(judge(frames[:, -1]))

    def _checked(self, found: Tensor) -> np.ndarray:
        known = isinstance(found, Tensor) and found.shape == (len(self),) and not found.is_complex()
        if not known or found.isnan().any():
            got = shown(found) if known or not isinstance(found, Tensor) else tuple(found.shape)
            raise ValueError(
                f"Expected a reward (or end) for each world, ({len(self)},), got {got}."
            )
        judged: np.ndarray = found.cpu().numpy()
        return judged


def _pixels(frames: Tensor) -> np.ndarray:
    """(N, n, 3, H, W) in [0, 1] to (N, n, H, W, 3) uint8."""
    pixels = to_uint8(frames.flatten(0, 1))
    return pixels.reshape(*frames.shape[:2], *pixels.shape[1:])
