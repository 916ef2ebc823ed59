"""A run's policy as an export beside its checkpoints, for what drives while it learns."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from egowm.action_module import ActionModule
from egowm.checks import check_whole


class PolicyExport(Callback):
    """Writes the newest policy to `<default_root_dir>/policy`, whole each time; `egowm collect
    --policy` drives with it.

    Args:
        every: Steps between two; it is written at the end, too.

    >>> PolicyExport(every=100).every
    100
    """

    def __init__(self, every: int = 100) -> None:
        check_whole("every", every, 1, 10**9)
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        if trainer.global_step % self.every == 0:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, ActionModule):
            raise ValueError(
                f"PolicyExport: expected a policy of egowm, got {type(pl_module).__name__}: leave "
                f"the callback out."
            )
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            pl_module.save_pretrained(Path(trainer.default_root_dir) / "policy")
