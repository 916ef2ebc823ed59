"""How far and how fast a run is, how long it waits for data, and how much memory it takes."""

import logging
import sys
import time
from collections import deque
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, TQDMProgressBar

log = logging.getLogger(__name__)
RECENT = 50  # batches that the logged rates are over
LINES = 10  # of a run's log, where no bar is drawn


class RunBar(TQDMProgressBar):
    """Lightning's bar, of training in a terminal over all steps of a run, also where it is given in
    epochs.

    Without a terminal no training is drawn: `Progress` logs a line for each tenth of it.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=int(sys.stdout.isatty()))

    def on_train_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        if steps := steps_of(trainer):
            bar = self.train_progress_bar
            bar.total, bar.initial = steps, trainer.global_step
            bar.set_description("Step")

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        if not steps_of(trainer):
            super().on_train_epoch_start(trainer, *args)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        if not steps_of(trainer):
            super().on_train_batch_end(trainer, pl_module, *args, **kwargs)
            return
        self.train_progress_bar.n = trainer.global_step
        self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))


class Progress(Callback):
    """Logs how fast a run is: `train/batches_per_second`, `train/waiting` and
    `train/peak_memory_gb`.

    `train/waiting` is the share of the time in which training waits for its loader. Time spent in
    validation does not count. A line before the first step says how much is trained.

    >>> Progress().batches
    0
    """

    def __init__(self) -> None:
        self.batches, self.seconds, self.waited = 0, 0.0, 0.0  # of training, since the start
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT + 1)
        self._aside = 0.0  # seconds that are no training
        self._paused = 0.0
        self._start = (0.0, 0.0)
        self._told = 0  # tenths of the run

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        counts = [(p.numel(), p.requires_grad) for p in pl_module.parameters()]
        trained, whole = sum(n for n, trains in counts if trains), sum(n for n, _ in counts)
        _tell(trainer, f"Training {trained / 1e6:.1f} M of {whole / 1e6:.1f} M parameters.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._aside = 0.0
        self._start = self._now(trainer)
        self._told = LINES * trainer.global_step // (steps_of(trainer) or 1)
        self._recent.clear()
        self._recent.append(self._start)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
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
        if not sys.stdout.isatty() and (steps := steps_of(trainer)):
            self._tell_tenths(trainer, steps, outputs, rate)

    def _tell_tenths(self, trainer: Trainer, steps: int, outputs: Any, rate: float) -> None:
        step = trainer.global_step
        if LINES * step // steps > self._told:
            self._told = LINES * step // steps
            loss = float(outputs["loss"])  # of this batch: what is logged may be older
            _tell(trainer, f"Step {step} of {steps}, loss {loss:.4g}, {rate:.3g} batches/s")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._aside += time.perf_counter() - self._paused

    def _now(self, trainer: Trainer) -> tuple[float, float]:
        """Seconds on the clock of training, and seconds waited for data."""
        waited = getattr(trainer.train_dataloader, "waited", 0.0)
        return time.perf_counter() - self._aside, waited


def steps_of(trainer: Trainer) -> int:
    """Optimizer steps of the whole run, by its steps or epochs, whichever ends it first; 0 where
    that is not known."""
    steps = trainer.estimated_stepping_batches
    return int(steps) if steps < float("inf") else 0


def _tell(trainer: Trainer, line: str) -> None:
    if trainer.is_global_zero:
        log.info(line)


def peak_memory(device: torch.device) -> int:
    """Bytes at most in use so far: by torch on a GPU, else by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0  # nothing in the standard library says it
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
