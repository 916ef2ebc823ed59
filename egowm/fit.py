"""`egowm fit`, `validate`, `test` and `predict`: LightningCLI over a model and its clips."""

import logging
from collections.abc import Sequence

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from egowm.data.module import ClipData


class FitCLI(LightningCLI):
    """A recipe names the model, the data and the trainer; everything written goes under
    `--trainer.default_root_dir`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults({"trainer.default_root_dir": "runs/default"})

    def _parse_ckpt_path(self) -> None:
        """Checkpoints hold no hyperparameters to merge: recipe and command line decide."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one Lightning subcommand; `argv` includes its name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    FitCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=list(argv) if argv is not None else None,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"prog": "egowm"},
    )
    return 0


__all__ = ["ClipData", "FitCLI", "main"]
