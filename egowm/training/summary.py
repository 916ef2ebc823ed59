"""What a run has come to: figures for its record, and one line for whoever started it."""

from typing import Any

from lightning import LightningModule, Trainer

from egowm.checks import counted
from egowm.training.checkpoints import RunCheckpoint
from egowm.training.progress import Progress, peak_memory

_SHOWN = ("train/loss", "val/loss", "guard/gap")


def figures(trainer: Trainer, model: LightningModule) -> dict[str, Any]:
    """Steps, speed, memory, the last value of each logged figure, the newest checkpoint."""
    device = trainer.strategy.root_device
    found: dict[str, Any] = {
        "device": str(device),
        "processes": trainer.world_size,
        "precision": str(trainer.precision),  # computed in; the recipe may ask for another
        "steps": trainer.global_step,
        "peak_memory_gb": round(peak_memory(device) / 1e9, 3),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, RunCheckpoint):
            found["last_checkpoint"] = str(callback.path) if callback.path else None
        if isinstance(callback, Progress) and callback.seconds:
            found["batches_per_second"] = round(callback.batches / callback.seconds, 3)
            found["waiting"] = round(callback.waited / callback.seconds, 3)
    backbone = getattr(model, "backbone", None)
    if backbone is not None and "base_sha256" in vars(backbone):  # where a checkpoint needed it
        found["base_sha256"] = backbone.base_sha256
    return found


def summary(found: dict[str, Any]) -> str:
    """One line from a finished record."""
    parts = [f"{counted(found['steps'], 'step')}, {found['seconds']:.0f} s from start to end"]
    if "batches_per_second" in found:
        parts.append(f"{found['batches_per_second']:.3g} batches/s")
        parts.append(f"waiting for data {100 * found['waiting']:.0f}% of the time")
    parts.append(f"peak memory {found['peak_memory_gb']:.2f} GB")
    parts += [f"{k} {found['metrics'][k]:.4g}" for k in _SHOWN if k in found["metrics"]]
    return ", ".join([*parts, str(found.get("last_checkpoint") or "no checkpoint")])
