"""`egowm fit`, `validate`, `test` and `predict`: LightningCLI over a model and its clips."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from egowm.cli import explain
from egowm.evaluation.prediction_writer import PredictionWriter

_NOISE = (  # lines of jsonargparse's messages that say nothing about the mistake
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
)


class RecipeError(Exception):
    """A recipe or a command line that does not fit the classes it names; one line."""


class RecipeParser(LightningArgumentParser):
    """Says in one line what is wrong, instead of printing the usage first."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # an inner parser, whose error the outer one reports
            super().error(message, ex)
        lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
        line = " ".join(x for x in lines if x and not x.startswith(_NOISE))
        if "arguments are required" in line:
            line += ". Give a recipe: -c recipes/NAME.yaml (`egowm recipes` lists them)."
        raise RecipeError(line) from ex


class RunCheckpoint(ModelCheckpoint):
    """The newest checkpoint as `<folder>/step=N.ckpt`, and `last.ckpt`, a link to it.

    Written after each validation (or epoch), and when training ends, also if it never validated.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "{step}", save_last="link", enable_version_counter=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            metrics = self._monitor_candidates(trainer)
            self._save_topk_checkpoint(trainer, metrics)
            self._save_last_checkpoint(trainer, metrics)


class FitCLI(LightningCLI):
    """A recipe names the model, the data and the trainer; everything written goes under
    `--trainer.default_root_dir`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults({"trainer.default_root_dir": "runs/default"})
        parser.add_argument(
            "--announced_layout",
            type=bool,
            default=False,
            help="predict: also write <episode>/<start>_<end>/{GT,pred}/frames/f_1.png ...",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """As the parent, without its warning about `sys.argv`: `main` passes what it was given."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Checkpoints hold no hyperparameters to merge: recipe and command line decide."""

    def instantiate_classes(self) -> None:
        """Build the parts; a value that a constructor refuses is the user's mistake."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            line = explain(cause) if isinstance(cause, Exception) else None
            if line is None:
                raise
            raise RecipeError(line) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The recipe's trainer, which keeps the newest checkpoint unless told not to."""
        config = self.config_init[self.subcommand]["trainer"]
        callbacks = list(config.get("callbacks") or [])
        root = Path(config["default_root_dir"] or ".")
        if config.get("enable_checkpointing") is not False and not config.get("barebones"):
            callbacks.append(RunCheckpoint(root / "checkpoints"))
        if self.subcommand == "predict":
            announced = self.config_init[self.subcommand]["announced_layout"]
            callbacks.append(PredictionWriter(root / "predictions", announced))
        return super().instantiate_trainer(callbacks=callbacks, **kwargs)


def build(argv: Sequence[str] | None = None) -> FitCLI:
    """Run one Lightning subcommand and return the CLI with its model, data and trainer.

    `argv` includes the subcommand's name.
    Raises RecipeError, in one line, for a recipe or an option that does not fit.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _quieten()
    return FitCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=list(argv) if argv is not None else None,
        save_config_kwargs={"overwrite": True},
        parser_class=RecipeParser,
        parser_kwargs={"prog": "egowm"},
    )


def _quieten() -> None:
    """Each message once; none about other products, or about what is meant to be so."""
    lightning = logging.getLogger("lightning")
    lightning.propagate = False  # it has a handler of its own
    for handler in lightning.handlers:
        handler.addFilter(_about_this_run)
    for meant in ("Found .* in eval mode", "Checkpoint directory .* exists", ".*LeafSpec"):
        warnings.filterwarnings("ignore", meant, module=r"lightning\.")


def _about_this_run(record: logging.LogRecord) -> bool:
    return " Tip: " not in record.getMessage()


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm fit -c RECIPE ...` and its siblings."""
    build(argv)
    return 0
