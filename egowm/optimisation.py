"""Optimizer and schedule of a fine-tuning run."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from lightning import Trainer
from torch import nn


def adamw(
    parameters: Iterable[nn.Parameter], learning_rate: float, warmup: int, total_steps: int
) -> dict[str, Any]:
    """AdamW with linear warm-up, then a cosine to zero at `total_steps`, as Lightning wants it."""
    optimizer = torch.optim.AdamW(
        [p for p in parameters if p.requires_grad], learning_rate, weight_decay=1e-2
    )

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return 0.5 * (1 + math.cos(math.pi * done))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, "interval": "step"},
    }


def use_schedule(trainer: Trainer, learning_rate: float) -> None:
    """Let a run that was resumed follow the schedule of its recipe, not the checkpoint's.

    The checkpoint decides how many steps are done; peak learning rate and number of steps may have
    changed. Where they have not, every value stays as it was, to the bit.
    """
    for config in trainer.lr_scheduler_configs:
        schedule: Any = config.scheduler
        schedule.base_lrs = [learning_rate] * len(schedule.base_lrs)
        rates = [learning_rate * factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
            group["initial_lr"], group["lr"] = learning_rate, rate
