"""Random numbers of training as a function of (seed, step, rank): nothing random is stored."""

import os
from hashlib import blake2b
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


def derived_seed(seed: int, *numbers: int) -> int:
    """A seed of 63 bits for one place in a run; neighbouring places have unrelated ones."""
    text = ",".join(str(number) for number in (seed, *numbers))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class StepSeeds(Callback):
    """Seeds torch anew at each training batch, from the run's seed, optimizer step, batch and rank.

    So a run that is resumed draws the same noise as one that never stopped, and validation in
    between changes nothing. The run's seed is that of `seed_everything`, or torch's own where it
    was not called; a checkpoint keeps it. A batch draws sample by sample in its order.
    """

    def __init__(self) -> None:
        self.seed: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))
            self.seed = int(trainer.strategy.broadcast(seed))  # ranks tell themselves apart below

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert self.seed is not None
        place = (trainer.global_step, batch_idx, trainer.global_rank)
        torch.manual_seed(derived_seed(self.seed, *place))

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seed = state_dict["seed"]
