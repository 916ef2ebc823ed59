"""What `egowm predict` writes: pred/, gt/, annotations/ and clips.json, ready for `egowm-scs`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from egowm.clip import Clip
from egowm.evaluation.announced import write_announced
from egowm.evaluation.run_folder import PREDICTIONS
from egowm.evaluation.run_writer import RunWriter, new_run


class PredictionWriter(Callback):
    """Writes every predicted clip; `folder` has them when all are there, or is left as it was.

    announced: also write them below `folder/announced`, as EgoWM's authors announced their own.
    """

    def __init__(self, folder: Path, announced: bool = False) -> None:
        self.folder, self.announced = folder, announced
        self.writer: RunWriter | None = None
        self._run = ExitStack()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        spec = getattr(pl_module, "spec", None)
        if spec is None or not trainer.ckpt_path:
            raise ValueError(
                "Expected the checkpoint of a trained WorldModel: give --ckpt_path FILE (an export "
                "is evaluated by `egowm eval`)."
            )
        label = type(pl_module).__name__
        about = (spec, data.source, label, {"pred": "prediction"}, PREDICTIONS)
        self.writer = self._run.enter_context(new_run(self.folder, *about))

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
        annotate = getattr(getattr(trainer, "datamodule", None), "annotation", None)
        for index, name in enumerate(batch.name):
            self.writer.truth(batch, index)
            self.writer.prediction("pred", batch, index, outputs.frames[index])
            if annotate is not None:
                self.writer.annotation(name, annotate(name))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.writer is not None
        self.writer.finish()
        if self.announced:
            write_announced(self.writer.folder, self.writer.folder / "announced")
        self._run.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._run.__exit__(type(exception), exception, exception.__traceback__)
