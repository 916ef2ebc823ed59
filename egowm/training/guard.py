"""The action-use guard: does the loss at high noise depend on which actions the model is told?

Averaged over all noise levels the loss is about the same under wrong actions even for an obedient
model, since a little noise leaves the motion visible in the noisy frames themselves.
"""

import logging
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from egowm.actions.contrast import KINDS, can_mirror, changed
from egowm.actions.spec import meant
from egowm.checks import counted
from egowm.clip import Clip
from egowm.dynamics import Dynamics

log = logging.getLogger(__name__)


class ActionsIgnored(Exception):
    """Training goes on without the actions having an effect; the message names likely causes."""


class ActionGuard(Callback):
    """Compares true with wrong actions at validation, on the same clips with the same noise.

    Logs `guard/KIND`, the model's `action_loss` (of a diffusion model the loss over its high noise
    levels) under true, shuffled (another clip's), zero and mirrored actions, and `guard/gap`: the
    share by which the loss under shuffled actions exceeds that under true ones. A model that
    ignores its actions has a gap of 0.

    Args:
        min_gap: smallest gap of a model that follows its actions; 0.01 is 1 %.
        patience: optimizer steps for which the gap may stay below min_gap before the run ends with
            `ActionsIgnored`; 0 only logs.
        batches: validation batches that are compared, each at the price of one forward pass for
            every kind of action and noise level.

    >>> ActionGuard(min_gap=0.02, patience=2000).patience
    2000
    """

    def __init__(self, min_gap: float = 0.01, patience: int = 5000, batches: int = 2) -> None:
        if min_gap < 0 or patience < 0 or batches < 1:
            raise ValueError(
                f"ActionGuard: expected min_gap and patience of 0 or more and at least one batch, "
                f"got {min_gap:g}, {patience} and {batches}."
            )
        self.min_gap, self.patience, self.batches = min_gap, patience, batches
        self.below_since = 0  # the optimizer step since which the gap is too small
        self._kinds: list[str] = []
        self._sums = torch.zeros(0)  # of the losses of each kind, and the number of batches
        self._gap: float | None = None
        self._done = 0  # batches of this validation that were compared
        self._other: Tensor | None = None  # the actions of the batch before, where that was a clip

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._kinds = kinds(pl_module) if fitting and isinstance(pl_module, Dynamics) else []
        self._sums = torch.zeros(len(self._kinds) + 1, device=pl_module.device)
        self._done, self._other = 0, None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Clip,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        alone = len(batch.actions) == 1
        other, self._other = self._other, batch.actions if alone else None
        if self._done >= self.batches or not self._kinds or (alone and other is None):
            return
        assert isinstance(pl_module, Dynamics)
        self._sums[:-1] += losses(pl_module, batch, batch_idx, other if alone else None)
        self._sums[-1] += 1
        self._done += 1

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gap = None
        if not self._kinds:
            return
        sums = trainer.strategy.reduce(self._sums, reduce_op="sum")
        if not sums[-1]:
            return  # a single clip: there is nothing to shuffle
        mean = dict(zip(self._kinds, (sums[:-1] / sums[-1]).tolist(), strict=True))
        self._gap = mean["shuffled"] / mean["true"] - 1
        for kind, loss in mean.items():
            pl_module.log(f"guard/{kind}", loss, rank_zero_only=True)
        pl_module.log("guard/gap", self._gap, prog_bar=True, rank_zero_only=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After the loggers have had their figures."""
        if self._gap is not None:
            self.judge(self._gap, trainer.global_step)

    def judge(self, gap: float, step: int) -> None:
        """Take in the gap at a step; raises ActionsIgnored when it was too small for too long."""
        if gap >= self.min_gap:
            self.below_since = step
        elif self.patience and step - self.below_since >= self.patience:
            raise ActionsIgnored(
                f"Step {step}: the model ignores its actions. At high noise, its loss under "
                f"another clip's actions is {100 * gap:.2f}% above that under the true ones, and "
                f"was less than {100 * self.min_gap:g}% above for "
                f"{counted(step - self.below_since, 'step')}. Likely causes: actions that do not "
                f"belong to the frames (`egowm data check` finds shifts, rates and ranges), too "
                f"little motion from frame to frame (raise the window's stride), too few steps at "
                f"high noise (raise the process' mean), a learning rate too small for the "
                f"embeddings, or a data set without actions. A longer patience or none is given by "
                f"--guard_patience."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"below_since": self.below_since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.below_since = state_dict["below_since"]


def kinds(model: Dynamics) -> list[str]:
    """The kinds of actions that are compared: mirrored ones where it is known what that means."""
    known = can_mirror(model.spec_of(None))
    return [kind for kind in KINDS if kind != "mirrored" or known]


@torch.no_grad()
def losses(model: Dynamics, clip: Clip, seed: int, other: Tensor | None = None) -> Tensor:
    """The model's `action_loss` (kinds,) under each kind of actions, with the same noise. other:
    another clip's actions, for a batch of one."""
    meaning = model.spec_of(None)
    shuffled = other
    if shuffled is None:
        shuffled = clip.actions.roll(len(clip.actions) // 2, 0)  # neighbours are often alike
    told = [changed(clip.actions, shuffled, kind, meaning) for kind in kinds(model)]
    with meant():  # a robot that never stood still is told to, nobody needs to know
        return torch.stack([model.action_loss(clip._replace(actions=a), seed) for a in told])
