"""Training clips that no recording costs: as in a mirror, and of a robot that stands still."""

from dataclasses import dataclass

import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.actions.contrast import changed
from egowm.clip import Clip


@dataclass(frozen=True)
class Augmentation:
    """Shows some training clips as in a mirror, and lets some robots stand still.

    In a mirrored clip left is right, and sideways motion, turn and steering have the other sign.
    In a paused clip the first frame is all that is seen, and every action is zero. Texts stay as
    they are.

    Args:
        mirrored: Share of the training clips that are mirrored, in [0, 1]. Only for robots whose
            mirror image is known: planar poses, steering with throttle.
        paused: Share of the training clips in which the robot stands still, in [0, 1]. Only where
            the zero action means that: poses and differences of states, no commands.

    Raises:
        ValueError: A share outside [0, 1].
    """

    mirrored: float = 0.0
    paused: float = 0.0

    def __post_init__(self) -> None:
        for name, share in (("mirrored", self.mirrored), ("paused", self.paused)):
            if not 0 <= share <= 1:
                raise ValueError(f"Expected {name}, a share of clips, in [0, 1], got {share}.")

    def apply(self, clip: Clip, meaning: ActionSpec) -> Clip:
        """A batch of clips, some of them changed.

        Raises:
            ValueError: Clips from a latent cache, states with a mirror, actions without a mirror
                image, commands that stand for no motion.
        """
        self._check(clip, meaning)
        if self.mirrored:
            clip = _mirrored(clip, self._drawn(clip, self.mirrored), meaning)
        return _paused(clip, self._drawn(clip, self.paused)) if self.paused else clip

    def _drawn(self, clip: Clip, share: float) -> Tensor:
        return torch.rand(len(clip.frames), device=clip.frames.device) < share

    def _check(self, clip: Clip, meaning: ActionSpec) -> None:
        if clip.is_cached:
            raise ValueError(
                "Augmented clips are encoded anew, so a latent cache does not hold them: leave the "
                "cache out (SVD's memo_frames keeps what was encoded), or --model.augmentation."
            )
        if self.mirrored and clip.state.numel():
            raise ValueError(
                "The mirror image of a body's state is not known: set "
                "--model.augmentation.mirrored 0."
            )
        if self.paused and meaning.kind == "command":
            raise ValueError(
                f"A zero command ({', '.join(meaning.names)}) does not say that the robot stands "
                f"still: set --model.augmentation.paused 0."
            )


def _mirrored(clip: Clip, chosen: Tensor, meaning: ActionSpec) -> Clip:
    def other(actions: Tensor) -> Tensor:
        mirrored = changed(actions, actions, "mirrored", meaning)
        return torch.where(chosen[:, None, None], mirrored, actions)

    frames = torch.where(chosen[:, None, None, None, None], clip.frames.flip(-1), clip.frames)
    return clip._replace(
        frames=frames, actions=other(clip.actions), past_actions=other(clip.past_actions)
    )


def _paused(clip: Clip, chosen: Tensor) -> Clip:
    still = chosen[:, None, None]
    return clip._replace(
        frames=torch.where(still[..., None, None], clip.frames[:, :1], clip.frames),
        actions=clip.actions.masked_fill(still, 0.0),
        past_actions=clip.past_actions.masked_fill(still, 0.0),
    )
