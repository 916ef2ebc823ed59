"""Goal-conditioned behaviour cloning: what did the robot do, on its way to what it saw later?"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from egowm.actions import ActionSpec
from egowm.checks import check_between, checked
from egowm.clip import Clip
from egowm.pixels import to_unit
from egowm.policies.goal_policy import STOP_AT, GoalPolicy


class BehaviourCloning(GoalPolicy):
    """A policy that imitates recordings: every later frame of a clip is a goal that was reached.

    Any driving will do. A frame and a later one, 1 to T steps apart, give the action in between
    and the number of steps; frames of other clips, and those that were passed, count as T + 1
    steps away (ViNT, arXiv 2306.14846, learns steps in this way).

    Args:
        depth: Channels of the first convolution, a multiple of 8; later ones have up to 4 times as
            many.
        units: Width of the layer after them.
        pairs: Frames and goals drawn of each clip of a batch.
        apart: Share of the pairs whose goal cannot be reached, in [0, 0.5].
        stop_at: It stops where fewer steps are left; 0 never stops.
        size: H and W of the frames: 8, 16, 32, ...
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        spec: Meaning of each action; null takes it from the data.

    >>> spec = ActionSpec(("turn",), ("rad",), "body", "difference", 4.0, (-1.0,), (1.0,))
    >>> policy = BehaviourCloning(depth=8, units=8, size=8, spec=spec)
    >>> policy.configure_model()
    >>> memory = policy.begin(torch.zeros(2, 3, 8, 8))
    >>> policy.act(memory, torch.zeros(2, 3, 8, 8))[1].shape
    torch.Size([2, 1])
    """

    @checked
    def __init__(
        self,
        depth: int = 16,
        units: int = 256,
        pairs: int = 6,
        apart: float = 0.2,
        stop_at: float = STOP_AT,
        size: int = 64,
        learning_rate: float = 2e-3,
        warmup: int = 100,
        spec: ActionSpec | None = None,
    ) -> None:
        super().__init__(depth, units, stop_at, size, learning_rate, warmup, spec)
        check_between("pairs", pairs, 1, 1024)
        check_between("apart", apart, 0, 0.5)
        self.pairs, self.apart = pairs, apart

    def losses(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = self._pairs(clip, generator)
        frames, goals, actions, steps, reached = (x.to(self.device) for x in drawn)
        found = self.decide(to_unit(frames), to_unit(goals))
        told = self.spec_of(self.source_of(clip)).normalise(actions)
        likelihood = self.log_likelihood(found.actions, told)
        imitated = -(likelihood * reached).sum() / reached.sum().clamp(min=1)
        counted = F.smooth_l1_loss(found.steps, steps) / 4
        off = (found.actions.mean.detach() - told).abs()[:, self.moving()].mean(1)
        logs = {"action_error": (off * reached).sum() / reached.sum().clamp(min=1)}
        logs["steps_error"] = (found.steps.detach() - steps).abs().mean()
        return imitated + counted, logs

    def _pairs(self, clip: Clip, generator: torch.Generator | None) -> Any:
        """Frames and goals (M, 3, H, W), actions (M, A), steps (M,), whether the goal was reached
        (M,), of M = pairs * B."""
        count, horizon = clip.actions.shape[:2]
        frames = clip.frames[:, -1 - horizon :]
        whose = torch.arange(count).repeat(self.pairs)
        now, then = self._times(len(whose), horizon, generator)
        other = torch.rand(len(whose), generator=generator) < self.apart
        elsewhere = torch.rand(len(whose), generator=generator) < 0.5
        passed = other & ~elsewhere & (then > now)
        now, then = torch.where(passed, then, now), torch.where(passed, now, then)
        goal_of = torch.where(other & elsewhere, whose.roll(1), whose)
        apart = (other & elsewhere & (goal_of != whose)) | passed
        steps = torch.where(apart, horizon + 1, then - now).float()
        reached = (~apart & (then > now)).float()
        actions = clip.actions[whose, now.clamp(max=horizon - 1)]
        return frames[whose, now], frames[goal_of, then], actions, steps, reached

    @staticmethod
    def _times(
        count: int, horizon: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """A frame of each pair and the goal's, 0 to `horizon` steps later, all gaps alike."""
        gap = torch.randint(0, horizon + 1, (count,), generator=generator)
        share = torch.rand(count, generator=generator)
        now = (share * (horizon + 1 - gap)).long()
        return now, now + gap
