"""The cost of candidate actions by what a world model imagines of them."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_shape, checked
from egowm.diffusion import SharedNoise
from egowm.pixels import check_unit
from egowm.planning.costs import Latents, Pixels, Term
from egowm.planning.search import check_costs
from egowm.sampling import Rollout, Sampling, as_frames, takes_sampling

if TYPE_CHECKING:
    from egowm.dynamics import Dynamics

log = logging.getLogger(__name__)
By = Literal["latents", "pixels"]
AT_ONCE = 32  # candidates, where a `Sampling` names no micro_batch


@checked
class GoalCost:
    """A planner's cost: imagine the candidates (N, T, A), then apply a term; see `goal_cost`.

    Args:
        model: What imagines.
        context: (1, K, 3, H, W), what is seen now.
        term: The cost of what was imagined.
        how: The settings; the term decides what is decoded, the planner whether a gradient is kept.
        noise: The same for all candidates.
        state: Of the body at the context, for models that embed it.
        text: Where the backbone takes one.
        source: Whose ranges normalise the actions.

    `candidates` counts those imagined so far. `micro_batch` is halved where the device's memory
    does not hold one, which leaves the costs as they are, for all candidates see the same noise.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> cost = goal_cost(model, torch.zeros(1, 1, 3, 64, 64), torch.zeros(3, 64, 64))
    >>> cost(torch.zeros(2, 1, 3)).shape, cost.candidates
    (torch.Size([2]), 2)
    """

    def __init__(
        self,
        model: "Dynamics",
        context: Tensor,
        term: Term,
        how: Sampling,
        noise: SharedNoise,
        state: Tensor | None = None,
        text: str = "",
        source: str | None = None,
    ) -> None:
        self.model, self.context, self.term, self.noise = model, context, term, noise
        self.how = replace(how, decode=term.needs, micro_batch=None)
        self.micro_batch = how.micro_batch or AT_ONCE
        self.state, self.text, self.source = state, text, source
        self.candidates = 0

    @checked
    def __call__(self, actions: Tensor) -> Tensor:
        """Costs (N,), on the device of the actions; differentiable where a gradient is wanted."""
        check_shape("actions", actions, "N T A")
        costs: list[Tensor] = []
        done = 0
        while done < len(actions):
            part = actions[done : done + self.micro_batch]
            found = self._fitting(part)
            if found is not None:
                costs.append(found)
                done += len(part)
        return torch.cat(costs).to(actions)

    def _fitting(self, actions: Tensor) -> Tensor | None:
        """One micro-batch; None where it did not fit, and the next one is to be half as large."""
        try:
            return self._part(actions)
        except torch.OutOfMemoryError:
            if len(actions) == 1:
                raise
        self.micro_batch = len(actions) // 2
        log.warning("%d candidates do not fit: now %d at once", len(actions), self.micro_batch)
        return None

    def _part(self, actions: Tensor) -> Tensor:
        """One micro-batch: its frames are gone when the next one begins."""
        costs = self.term(self.imagine(actions), actions.to(self.model.device, torch.float32))
        check_costs(costs, len(actions))
        self.candidates += len(actions)
        return costs

    @checked
    def imagine(self, actions: Tensor) -> Rollout:
        """What the cost of actions is a cost of; all of them at once.

        Args:
            actions: (N, T, A) in physical units, tensor or array.
        """
        check_shape("actions", actions, "N T A")
        actions = actions.to(self.model.device, torch.float32)
        return self.model.rollout(
            self.context,
            actions,
            replace(self.how, gradient=torch.is_grad_enabled() and actions.requires_grad),
            state=self.state,
            text=self.text,
            source=self.source,
            generator=self.noise.fresh(),
        )


@takes_sampling
def goal_cost(
    model: "Dynamics",
    context: Tensor | np.ndarray,
    goal: Tensor | np.ndarray | Term,
    how: Sampling = Sampling(),
    *,
    by: By = "latents",
    state: Tensor | None = None,
    text: str = "",
    source: str | None = None,
    generator: torch.Generator | None = None,
) -> GoalCost:
    """How far the imagined end of each candidate is from a goal.

    Args:
        model: What imagines.
        context: What is seen now: frames (1, K, 3, H, W) as in `WorldModel.rollout`, or one picture
            (H, W, 3) in uint8.
        goal: A frame, (3, H, W) in uint8 or float in [0, 1], or a picture (H, W, 3) in uint8; or
            any term of `egowm.planning.costs`.
        how: The settings of `WorldModel.rollout`. Fewer steps plan faster. micro_batch bounds how
            many candidates are imagined at once (32 by default), and is halved, with a warning,
            where a GPU's memory does not suffice. Decoded is what the goal or term looks at.
        by: Whether a frame is compared by latents (nothing is decoded) or pixels (the last is).
        state: See `WorldModel.rollout`.
        text: See `WorldModel.rollout`.
        source: See `WorldModel.rollout`.
        generator: The noise, the same for all candidates and for every call (common random
            numbers), so the cost is a function of the actions alone; seed 0 by default.

    Raises ValueError for a context of several scenes and a goal of another size.

    >>> from egowm import WorldModel
    >>> model = WorldModel.from_pretrained("rooms")
    >>> picture = np.full((64, 64, 3), 128, np.uint8)
    >>> cost = goal_cost(model, picture, picture)
    >>> costs = cost(torch.tensor([[[0.0, 0.0, 0.0]], [[0.2, 0.0, 0.1]]]))
    >>> costs.shape, bool((costs > 0).all())
    (torch.Size([2]), True)
    """
    seen = as_frames(context)
    if seen.ndim != 5 or len(seen) != 1 or not seen.numel():
        raise ValueError(
            f"Expected a context (1, K, 3, H, W), or one picture (H, W, 3) in uint8, got "
            f"{tuple(seen.shape)}."
        )
    noise = SharedNoise((generator or torch.Generator().manual_seed(0)).clone_state())
    term = goal if isinstance(goal, Term) else _compared(model, _float(goal, seen), by)
    return GoalCost(model, seen, term, how, noise, state, text, source)


def _compared(model: "Dynamics", frame: Tensor, by: By) -> Term:
    return Pixels(frame) if by == "pixels" else Latents(goal_latents(model, frame))


@checked
@torch.no_grad()
def goal_latents(model: "Dynamics", frame: Tensor) -> Tensor:
    """The latent (c, h, w) of a goal (3, H, W) in [0, 1]: the last one of a video that stands still
    there, since a causal VAE codes a first frame in another way than later ones."""
    check_shape("frame", frame, "3 H W")
    check_unit("goal", frame)
    model.check_size(frame.shape[1], frame.shape[2])
    if frame.dtype == torch.uint8:
        raise ValueError("Expected a goal of floats in [0, 1]: divide uint8 frames by 255.")
    return model.encode_goal(frame)


def _float(picture: Tensor | np.ndarray, context: Tensor) -> Tensor:
    """A goal (3, H, W) in [0, 1]."""
    frames = as_frames(picture)
    goal = frames[0, 0] if frames.ndim == 5 else frames
    if goal.shape != context.shape[2:]:
        raise ValueError(
            f"Expected a goal of the context's frame size {tuple(context.shape[2:])}, got "
            f"{tuple(goal.shape)}."
        )
    check_unit("goal", goal)
    return goal.float() / 255 if goal.dtype == torch.uint8 else goal.float()
