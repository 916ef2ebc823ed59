"""A policy as an agent of the closed loop in the rooms, and as what proposes plans."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_between, checked
from egowm.evaluation.navigation import Task
from egowm.policies.policy import Policy
from egowm.sampling import Sampling, takes_sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics


class PolicyAgent:
    """Goes where the goal picture is, by a policy (`egowm.evaluation.navigation.Agent`).

    Args:
        policy: What decides.
        seed: Of its actions; None takes the most likely ones.
    """

    def __init__(self, policy: Policy, seed: int | None = None) -> None:
        self.policy, self.seed = policy, seed

    def begin(self, task: Task, goal: np.ndarray) -> None:
        self.memory = self.policy.begin(_frame(goal))
        self.generator = None
        if self.seed is not None:
            self.generator = torch.Generator().manual_seed(self.seed * 100_003 + task.seed)

    def act(self, frame: np.ndarray) -> np.ndarray:
        self.memory, actions = self.policy.act(self.memory, _frame(frame), self.generator)
        done: np.ndarray = actions[0].cpu().numpy().astype(float)
        return done


@checked
@takes_sampling
@torch.no_grad()
def propose(
    policy: Policy,
    model: "Dynamics",
    context: Tensor,
    goal: Tensor,
    how: Sampling = Sampling(),
    *,
    horizon: int,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What a policy would do next, (N, T, A): it acts in a world model, in N futures.

    Args:
        policy: What decides; its actions are drawn.
        model: What imagines.
        context: What is seen now, frames (1, K, 3, H, W) in [0, 1].
        goal: What is to be seen in the end, (3, H, W) in [0, 1].
        how: The settings of `WorldModel.rollout`.
        horizon: Actions, T.
        samples: Futures, N.
        generator: Of actions and noise.
    """
    check_between("horizon", horizon, 1, 10_000)
    check_between("samples", samples, 1, 1_000_000)
    block = model.frames_at_once
    stepper = model.stepper(how, None, generator)
    seen = context.expand(samples, *context.shape[1:])
    state, memory = stepper.begin(seen), policy.begin(goal.expand(samples, *goal.shape))
    frames, taken = seen[:, -1], list[Tensor]()
    while len(taken) * block < horizon:
        memory, action = policy.act(memory, frames, generator)
        taken.append(action[:, None].expand(-1, block, -1).to(model.device))
        state, made = stepper.advance(state, taken[-1], None, [""])
        frames = made.frames[:, -1]
    return torch.cat(taken, 1)[:, :horizon]


def _frame(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
