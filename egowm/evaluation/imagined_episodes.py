"""What `egowm predict --lerobot true` writes: the imagined clips as a LeRobot data set."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from egowm.clip import Clip
from egowm.data.imagined import ImaginedWriter
from egowm.data.lerobot_writer import WRITTEN

IMAGINED = WRITTEN._replace(forced="--force")


class ImaginedEpisodes(Callback):
    """Writes every predicted clip as an episode; `folder` has them when all are there, or none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: ImaginedWriter | None = None
        self._run = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        spec = getattr(pl_module, "spec", None)
        if spec is None:
            raise ValueError("Expected the checkpoint of a trained model: give --ckpt_path FILE.")
        self.writer = self._run.enter_context(ImaginedWriter(self.folder, spec, force=True))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Clip,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert self.writer is not None
        batch = batch.to("cpu")
        first = batch.frames.shape[1] - batch.actions.shape[1]
        for k, text in enumerate(batch.text):
            context = batch.frames[k, :first]
            told = (batch.actions[k], batch.past_actions[k], text)
            self.writer.add_rollout(context, outputs.frames[k].float().cpu(), *told)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._run.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._run.__exit__(type(exception), exception, exception.__traceback__)
