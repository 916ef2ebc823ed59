"""How fast a run is, how much of its time it waits for data, and how much memory it takes."""

import sys
import time
from collections import deque
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

RECENT = 50  # batches that the logged rates are over


class Progress(Callback):
    """Logs how fast a run is: `train/batches_per_second`, `train/waiting` and
    `train/peak_memory_gb`.

    `train/waiting` is the share of the time in which training waits for its loader. Time spent in
    validation does not count.

    >>> Progress().batches
    0
    """

    def __init__(self) -> None:
        self.batches, self.seconds, self.waited = 0, 0.0, 0.0  # of training, since the start
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT + 1)
        self._aside = 0.0  # seconds that are no training
        self._paused = 0.0
        self._start = (0.0, 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._aside = 0.0
        self._start = self._now(trainer)
        self._recent.clear()
        self._recent.append(self._start)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        now = self._now(trainer)
        self.batches += 1
        self.seconds, self.waited = (b - a for a, b in zip(self._start, now, strict=True))
        self._recent.append(now)
        seconds, waited = (b - a for a, b in zip(self._recent[0], now, strict=True))
        rate = (len(self._recent) - 1) / max(seconds, 1e-9)
        pl_module.log("train/batches_per_second", rate)
        pl_module.log("train/waiting", waited / max(seconds, 1e-9))
        pl_module.log("train/peak_memory_gb", peak_memory(pl_module.device) / 1e9)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._aside += time.perf_counter() - self._paused

    def _now(self, trainer: Trainer) -> tuple[float, float]:
        """Seconds on the clock of training, and seconds waited for data."""
        waited = getattr(trainer.train_dataloader, "waited", 0.0)
        return time.perf_counter() - self._aside, waited


def peak_memory(device: torch.device) -> int:
    """Bytes at most in use so far: by torch on a GPU, else by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0  # nothing in the standard library says it
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
