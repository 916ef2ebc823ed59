"""The cost of candidate actions by what a world model imagines of them."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from egowm.diffusion import Common
from egowm.planning.costs import Latents, Pixels, Term

if TYPE_CHECKING:
    from egowm.conditioning.guidance import Guide
    from egowm.sampling import Chain
    from egowm.world_model import WorldModel

log = logging.getLogger(__name__)
By = Literal["latents", "pixels"]


class GoalCost:
    """A planner's cost: imagine the candidates (N, T, A), then ask a term; see `goal_cost`.

    candidates: how many were imagined so far. micro_batch: is halved where the device's memory does
    not hold one, which leaves the costs as they are, for all candidates see the same noise.
    """

    def __init__(
        self, model: "WorldModel", term: Term, micro_batch: int, noise: Common, options: Any
    ) -> None:
        if micro_batch < 1:
            raise ValueError(f"Expected a micro_batch of at least 1, got {micro_batch}.")
        self.model, self.term, self.micro_batch = model, term, micro_batch
        self.noise, self.options = noise, options
        self.candidates = 0

    def __call__(self, actions: Tensor) -> Tensor:
        """Costs (N,), on the device of the actions; differentiable where a gradient is wanted."""
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
        actions = actions.to(self.model.device, torch.float32)
        made = self.model.rollout(
            actions=actions,
            generator=self.noise.fresh(),
            decode=self.term.needs,
            gradient=torch.is_grad_enabled() and actions.requires_grad,
            **self.options,
        )
        costs = self.term(made, actions)
        self.candidates += len(actions)
        return costs


def goal_cost(
    model: "WorldModel",
    context: Tensor,
    goal: Tensor | Term,
    *,
    by: By = "latents",
    state: Tensor | None = None,
    text: str = "",
    steps: int | None = None,
    guidance: float = 1.0,
    guide_on: "Guide | Sequence[Guide] | None" = None,
    generator: torch.Generator | None = None,
    micro_batch: int = 32,
    strict: bool = False,
    chain: "Chain | None" = None,
    source: str | None = None,
    decode_window: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> GoalCost:
    """How far the imagined end of each candidate is from a goal.

    context: (1, K, 3, H, W), what is seen now, as in `WorldModel.rollout`. goal: a frame
    (3, H, W), uint8 or float in [0, 1], compared `by` latents (nothing is decoded) or pixels (the
    last frame is); or any term of `egowm.planning.costs`. generator: the noise, the same for all
    candidates and for every call (common random numbers), so the cost is a function of the actions
    alone; seed 0 by default. steps: fewer than the model's default plan faster. micro_batch:
    candidates imagined at once, which bounds the memory; halved, with a warning, where a GPU's does
    not suffice. The others: see `WorldModel.rollout`.
    Raises ValueError for a context of several scenes and a goal of another size.
    """
    if context.ndim != 5 or len(context) != 1:
        raise ValueError(f"Expected a context (1, K, 3, H, W), got {tuple(context.shape)}.")
    if by not in ("latents", "pixels"):
        raise ValueError(f"Expected by latents or pixels, got {by!r}.")
    term = goal
    if isinstance(goal, Tensor):
        frame = _float(goal, context)
        term = Pixels(frame) if by == "pixels" else Latents(goal_latents(model, frame))
    assert not isinstance(term, Tensor)
    noise = Common((generator or torch.Generator().manual_seed(0)).clone_state())
    options = {
        "context": context,
        "state": state,
        "text": text,
        "steps": steps,
        "guidance": guidance,
        "guide_on": guide_on,
        "strict": strict,
        "chain": chain,
        "source": source,
        "decode_window": decode_window,
        "dtype": dtype,
    }
    return GoalCost(model, term, micro_batch, noise, options)


@torch.no_grad()
def goal_latents(model: "WorldModel", frame: Tensor) -> Tensor:
    """The latent (c, h, w) of a goal (3, H, W) in [0, 1]: the last one of a video that stands still
    there, since a causal VAE codes a first frame in another way than later ones."""
    backbone = model.backbone
    length = 1 if backbone.context_latents == 0 else backbone.context + backbone.frames_at_once
    still = frame.to(model.device)[None, None].expand(1, length, -1, -1, -1) * 2 - 1
    return backbone.encode(still)[0, -1]


def _float(goal: Tensor, context: Tensor) -> Tensor:
    if goal.shape != context.shape[2:]:
        raise ValueError(
            f"Expected a goal of the context's frame size {tuple(context.shape[2:])}, got "
            f"{tuple(goal.shape)}."
        )
    if goal.dtype == torch.uint8:
        return goal.float() / 255
    if goal.min() < 0 or goal.max() > 1:
        raise ValueError("Expected a float goal in [0, 1] (or uint8).")
    return goal.float()
