"""A policy as an agent of the closed loop in the rooms, and as what proposes plans."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_between
from egowm.data.normalisers import WHEELED
from egowm.evaluation.agents import HIGH, LOW, Foreseen
from egowm.evaluation.navigation import Task
from egowm.pixels import picture
from egowm.policies.policy import Policy
from egowm.sampling import Sampling, takes_sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics


class PolicyAgent:
    """Goes where the goal picture is, by a policy (`egowm.evaluation.navigation.Agent`).

    Actions are kept within the robot's ranges, as those of planners are.

    Args:
        policy: What decides.
        seed: Of its actions; None takes the most likely ones.
    """

    def __init__(self, policy: Policy, seed: int | None = None) -> None:
        WHEELED.compare(policy.spec_of(None))
        self.policy, self.seed = policy, seed
        self.plans: list[Foreseen] = []  # it makes none

    def begin(self, task: Task, goal: np.ndarray) -> None:
        self.memory = self.policy.begin(picture(goal)[None])
        self.generator = None
        if self.seed is not None:
            self.generator = torch.Generator().manual_seed(self.seed * 100_003 + task.seed)

    def act(self, frame: np.ndarray) -> np.ndarray:
        self.memory, actions = self.policy.act(self.memory, picture(frame)[None], self.generator)
        done: np.ndarray = actions[0].cpu().clamp(LOW, HIGH).numpy().astype(float)
        return done


@takes_sampling
def proposals(
    policy: Policy,
    model: "Dynamics",
    how: Sampling = Sampling(),
    *,
    horizon: int,
    samples: int,
    seed: int = 0,
) -> Callable[[Tensor, Tensor], Tensor]:
    """What a policy would do next: it acts in N futures of a world model.

    The result is a function of what is seen (K, 3, H, W) and of the goal (3, H, W), in [0, 1], to
    sequences of actions (N, T, A), as `egowm.planning.MPC` takes them.

    Args:
        policy: What decides; its actions are drawn.
        model: What imagines; makes frames and embeds no state.
        how: The settings of `WorldModel.rollout`.
        horizon: Actions, T. Of a model that makes n frames at once, each is kept up n times.
        samples: Futures, N.
        seed: Of actions and noise.

    >>> from egowm import WorldModel
    >>> from egowm.policies import BehaviourCloning
    >>> model = WorldModel.from_pretrained("rooms")
    >>> policy = BehaviourCloning(depth=8, units=8, spec=model.spec)
    >>> policy.configure_model()
    >>> propose = proposals(policy, model, Sampling(steps=1), horizon=2, samples=3)
    >>> propose(torch.zeros(1, 3, 64, 64), torch.ones(3, 64, 64)).shape
    torch.Size([3, 2, 3])
    """
    check_between("horizon", horizon, 1, 10_000)
    check_between("samples", samples, 1, 1_000_000)
    policy.spec_of(None).compare(model.spec_of(None))
    if not model.makes_frames or model.state_spec is not None:
        raise ValueError(
            f"{model.name} makes no frames, or embeds a state: a policy cannot act in it."
        )
    generator, block = torch.Generator().manual_seed(seed), model.frames_at_once

    @torch.no_grad()
    def proposed(seen: Tensor, goal: Tensor) -> Tensor:
        stepper = model.stepper(how, None, generator)
        state = stepper.begin(seen.expand(samples, *seen.shape))
        memory = policy.begin(goal.expand(samples, *goal.shape))
        frames, taken = seen[-1:].expand(samples, *goal.shape), list[Tensor]()
        while len(taken) * block < horizon:
            memory, action = policy.act(memory, frames, generator)
            taken.append(action[:, None].expand(-1, block, -1).to(model.device))
            state, made = stepper.advance(state, taken[-1], None, [""])
            frames = made.frames[:, -1]
        return torch.cat(taken, 1)[:, :horizon].cpu()

    return proposed
