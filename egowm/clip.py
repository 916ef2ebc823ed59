"""What a model trains on and is tested on: a short stretch of video with the actions in it."""

from typing import NamedTuple

import torch
from torch import Tensor

from egowm.actions import ActionSpec, follows, integrate
from egowm.checks import check_between, check_shape, checked, counted, shown
from egowm.pixels import to_model

NONE = torch.zeros(0)


class Encodings(NamedTuple):
    """Cached outputs of the frozen encoders for one clip; empty, shape (0,), without a cache.

    >>> Encodings(latents=torch.zeros(9, 4, 8, 8)).latents.shape[0]  # context and 8 frames
    9
    """

    latents: Tensor = NONE  # as the VAE has them: (1+T, c, h, w) frame by frame, or (t, c, h, w)
    context: Tensor = NONE  # (t, c, h, w), what else a family encodes of the context
    image: Tensor = NONE  # (tokens, D), of the image encoder


@checked
class Clip(NamedTuple):
    """Context and future frames, and the actions that lead through them.

    Default collate stacks clips along a first axis B.

    Args:
        frames: (K+T, 3, H, W) uint8, K of context and T future ones.
        actions: (T, A) float32 in physical units; `actions[k]` takes frame K-1+k to frame K+k.
        past_actions: (K-1, A), those between the context frames.
        state: (S,) in physical units at the last context frame; S = 0 where a robot reports none.
        text: What the clip shows or the robot is to do; "" where there is none.
        source: The data set; a batch comes from one source.
        name: Episode and first frame.
        later_states: (T, S) at the frames that the actions lead to, as recorded; empty, (0,), where
            they are not known.
        encodings: Cached, in place of the frames: of these the context's are left, or none
            (0, ...). Empty by default: there is no cache.

    >>> frames = torch.full((1 + 4, 3, 64, 64), 255, dtype=torch.uint8)
    >>> actions, past, state = torch.zeros(4, 3), torch.zeros(0, 3), torch.zeros(0)
    >>> clip = Clip(frames, actions, past, state, text="", source="rooms", name="room_7_0")
    >>> len(clip.frames) - len(clip.actions)  # context frames
    1
    """

    frames: Tensor
    actions: Tensor
    past_actions: Tensor
    state: Tensor
    text: str
    source: str
    name: str
    later_states: Tensor = NONE
    encodings: Encodings = Encodings()

    def to(self, device: torch.device | str) -> "Clip":
        """The clip with its tensors on another device.

        Args:
            device: Where they go, for instance "cuda".
        """
        return self._replace(
            frames=self.frames.to(device),
            actions=self.actions.to(device),
            past_actions=self.past_actions.to(device),
            state=self.state.to(device),
            later_states=self.later_states.to(device),
            encodings=Encodings(*(x.to(device) for x in self.encodings)),
        )

    def check(self) -> None:
        """Refuse a batch whose parts do not belong together; values are checked where used."""
        if not self.is_cached:
            check_shape("clip.frames", self.frames, "B frames 3 H W")
        check_shape("clip.actions", self.actions, "B T A", B=len(self.frames))
        if self.is_cached:
            return
        if self.frames.shape[1] <= self.actions.shape[1] or self.frames.dtype != torch.uint8:
            raise ValueError(
                f"Expected a clip of uint8 frames, at least one more than the "
                f"{counted(self.actions.shape[1], 'action')}, got {shown(self.frames)}."
            )

    def one(self, number: int) -> "Clip":
        """One clip of a batch.

        Args:
            number: In [-B, B); negative ones count from the end.
        """
        if not -len(self.frames) <= number < len(self.frames):
            clips = counted(len(self.frames), "clip")
            raise ValueError(f"Expected a number of one of {clips}, got {number}.")
        held = Encodings(*(x[number] for x in self.encodings)) if self.is_cached else Encodings()
        later = self.later_states[number] if self.later_states.numel() else NONE
        return Clip._make([*(values[number] for values in self[:-2]), later, held])

    def states(self, spec: ActionSpec, state_spec: ActionSpec, chunk: int) -> Tensor:
        """Of a batch, the body's state at the start of every chunk, (B, chunks, S).

        Where actions are differences of states, the later ones follow from them. Else they are
        those of the recording, which tell more than a robot knows beforehand.

        Args:
            spec: What the actions mean.
            state_spec: What the state means.
            chunk: Actions of a chunk, at least 1.

        Raises:
            ValueError: Later states neither follow nor are known.
        """
        if follows(spec, state_spec) or not self.later_states.numel():
            return integrate(self.state, self.actions, spec, state_spec, chunk)
        check_between("chunk", chunk, 1, 10**6)
        check_shape("state", self.state, "B S", S=state_spec.width)
        sizes = {"B": len(self.state), "T": self.actions.shape[1], "S": state_spec.width}
        check_shape("later_states", self.later_states, "B T S", **sizes)
        return torch.cat([self.state[:, None], self.later_states[:, :-1]], 1)[:, ::chunk]

    @property
    def is_cached(self) -> bool:
        """Whether latents stand in for frames."""
        return self.encodings.latents.numel() > 0

    def scaled(self, num_context: int) -> tuple[Tensor, Tensor]:
        """Of a batch, all frames (B, K+T, 3, H, W) in [-1, 1], and those of the context alone.

        Pixels that a cache left out are NaN, a view of one number: whatever looked at them shows.

        Args:
            num_context: K, how many of the last context frames are taken; at least 1.
        """
        self.check()
        pictures, horizon = to_model(self.frames), self.actions.shape[1]
        if not self.is_cached:
            check_between("num_context", num_context, 1, pictures.shape[1] - horizon)
        if not self.is_cached:
            frames = pictures[:, pictures.shape[1] - horizon - num_context :]
            return frames, frames[:, :num_context]
        shape = (len(pictures), num_context + horizon, *pictures.shape[2:])
        unseen = torch.full((), torch.nan, device=pictures.device).expand(shape)
        return unseen, pictures if pictures.shape[1] else unseen[:, :num_context]
