"""What a model trains on and is tested on: a short stretch of video with the actions in it."""

from typing import NamedTuple

import torch
from torch import Tensor


class Clip(NamedTuple):
    """Context and future frames, and the actions that lead through them.

    `actions[k]` takes frame K-1+k to frame K+k. Default collate stacks clips along a first axis B.
    """

    frames: Tensor  # (K+T, 3, H, W) uint8
    actions: Tensor  # (T, A) float32, physical units
    past_actions: Tensor  # (K-1, A)
    state: Tensor  # (S,) at the last context frame; S = 0 where a robot reports none
    text: str  # "" where there is none
    source: str  # the data set; a batch comes from one source
    name: str  # episode and first frame

    def to(self, device: torch.device | str) -> "Clip":
        """The clip with its tensors on `device`."""
        return self._replace(
            frames=self.frames.to(device),
            actions=self.actions.to(device),
            past_actions=self.past_actions.to(device),
            state=self.state.to(device),
        )
