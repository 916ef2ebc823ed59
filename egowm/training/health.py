"""Stops a run at its first non-finite loss or gradient, and logs the gradient's norm."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from egowm.clip import Clip
from egowm.network.sharding import whole

NAMED = 8  # clips and noise levels that a message lists


class NotFinite(Exception):
    """A loss or gradient that is infinite or no number; the message names the batch."""


class Health(Callback):
    """Stops a run at a loss or a gradient that is not finite, before the weights take it in.

    The last checkpoint stays good. Gradients are not checked where a scaler (float16) skips bad
    steps by itself. Logs `train/gradient_norm`, before clipping.

    >>> trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    >>> Health().on_before_backward(trainer, LightningModule(), torch.tensor(float("nan")))
    Traceback (most recent call last):
        ...
    egowm.training.health.NotFinite: Step 0, process 0: the loss is nan. ...
    """

    def __init__(self) -> None:
        self._clips: list[str] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._clips = list(batch.name) if isinstance(batch, Clip) else []

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        if not torch.isfinite(loss):
            raise NotFinite(self._message(trainer, pl_module, f"the loss is {loss.item()}"))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not scaled and not torch.isfinite(norm):
            bad = next(
                name
                for name, p in pl_module.named_parameters()
                if p.grad is not None and not torch.isfinite(whole(p.grad)).all()
            )
            what = f"the gradient is not finite, first in {bad}"
            raise NotFinite(self._message(trainer, pl_module, what))
        pl_module.log("train/gradient_norm", norm)

    def _message(self, trainer: Trainer, model: LightningModule, what: str) -> str:
        sigma = getattr(model, "sigma", torch.zeros(0)).flatten().tolist()
        levels = ", ".join(f"{value:.4g}" for value in sigma[:NAMED]) or "not known"
        clips = ", ".join(self._clips[:NAMED]) or "not known"
        return (
            f"Step {trainer.global_step}, process {trainer.global_rank}: {what}. Noise levels "
            f"(sigma): {levels}. Clips: {clips}. No weight was updated by this step; the last "
            f"checkpoint is safe to resume from. Look at these clips (`egowm data show`); else "
            f"lower --model.learning_rate, set --trainer.gradient_clip_val 1, or use "
            f"--trainer.precision bf16-mixed in place of float16."
        )
