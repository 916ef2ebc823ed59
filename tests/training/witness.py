"""Callbacks that write down what each process of a fit saw and ended with, or end it."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from egowm.network.sharding import whole
from egowm.training.average import trained_parameters


class Witness(Callback):
    """Leaves `<default_root_dir>/rank<N>.json`."""

    def __init__(self) -> None:
        self.names, self.losses, self.places, self.validated = [], [], [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.places.append((trainer.global_step, batch_idx, trainer.global_rank))

    def on_train_batch_end(self, trainer, module, outputs: Any, batch, batch_idx) -> None:
        self.names.append(list(batch.name))
        self.losses.append(outputs["loss"].item())

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.validated.append(list(batch.name))

    def on_fit_end(self, trainer, module) -> None:
        digest = hashlib.sha256()
        for _, parameter in sorted(module.named_parameters()):
            digest.update(whole(parameter.detach()).numpy().tobytes())
        trained = [p.detach() for p in trained_parameters(module).values()]
        found = {"names": self.names, "losses": self.losses, "validated": self.validated}
        found |= {
            "places": self.places,
            "weights": digest.hexdigest(),
            "gap": float(trainer.callback_metrics["guard/gap"]),
            "trained": sum(p.numel() for p in trained),
            "held": sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in trained),
        }
        path = Path(trainer.default_root_dir) / f"rank{trainer.global_rank}.json"
        path.write_text(json.dumps(found))


class Terminator(Callback):
    """Sends SIGTERM to its own process after a step, as a scheduler does to all of a run."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, module, *args: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
