"""Optimizer and schedule of a fine-tuning run."""

import math
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Literal

import torch
from lightning import Trainer
from torch import nn

Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"]
_BITSANDBYTES = {
    "adamw_8bit": "AdamW8bit",
    "paged_adamw": "PagedAdamW",
    "paged_adamw_8bit": "PagedAdamW8bit",
}
_SMALLEST, _BLOCK = 4096, 256  # values: of a tensor kept in 8 bits, and of those that share a scale


def adamw(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    warmup: int,
    total_steps: int,
    kind: Optimizer = "adamw",
    weight_decay: float = 1e-2,
    beta2: float = 0.999,
) -> dict[str, Any]:
    """AdamW with linear warm-up, then a cosine to zero at `total_steps`, as Lightning wants it.

    Args:
        parameters: Of the model; those that need no gradient are left out.
        learning_rate: Highest, reached after the warm-up; 0 or more.
        warmup: Steps of warm-up.
        total_steps: Steps until the learning rate is zero.
        kind: torch's own, or one of bitsandbytes', which need a GPU. Its 8-bit ones keep the two
            averages in a byte each, its paged ones let them move to main memory.
        weight_decay: Share of each weight, times the learning rate, that a step takes away.
        beta2: Share of its average of squared gradients that a step keeps.
    """
    if not 0 <= learning_rate < math.inf:
        raise ValueError(f"Expected a learning_rate of 0 or more, got {learning_rate}.")
    trained = [p for p in parameters if p.requires_grad]
    options: dict[str, Any] = {"weight_decay": weight_decay, "betas": (0.9, beta2)}
    optimizer = _optimizer(kind, trained)(trained, lr=learning_rate, **options)

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


def averages_bytes(kind: Optimizer, sizes: Sequence[int], width: int = 4) -> int:
    """Bytes of AdamW's two averages on the GPU, for tensors of so many values of `width` bytes.

    Paged ones count nothing: they leave the GPU when it is full.
    """
    if kind.startswith("paged_"):
        return 0
    if kind == "adamw":
        return 2 * width * sum(sizes)
    in_bytes = sum(2 * n + 8 * math.ceil(n / _BLOCK) for n in sizes if n >= _SMALLEST)
    return in_bytes + sum(8 * n for n in sizes if n < _SMALLEST)


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


def _optimizer(kind: Optimizer, trained: Sequence[nn.Parameter]) -> Any:
    """The optimizer's class; ValueError where this machine does not have it."""
    if kind == "adamw":
        return torch.optim.AdamW
    if kind not in _BITSANDBYTES:
        known = ", ".join(("adamw", *_BITSANDBYTES))
        raise ValueError(f"Expected an optimizer of {known}, got {kind!r}.")
    if any(p.device.type == "cpu" for p in trained):
        raise ValueError(
            f"--model.optimizer {kind} needs a GPU, and this run is on the CPU: leave it adamw, "
            f"or set --trainer.accelerator gpu."
        )
    try:
        module = import_module("bitsandbytes.optim")
    except ImportError as error:
        raise ValueError(
            f"--model.optimizer {kind} needs the package bitsandbytes, which cannot be imported "
            f"({error}): pip install 'egowm[bitsandbytes]', or leave it adamw."
        ) from error
    return getattr(module, _BITSANDBYTES[kind])
