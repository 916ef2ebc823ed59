"""What `egowm fit` and its siblings do: LightningCLI over a model and its clips."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from egowm.commands.main import VERBS, explain
from egowm.evaluation.imagined_episodes import IMAGINED, ImaginedEpisodes
from egowm.evaluation.prediction_writer import PredictionWriter
from egowm.evaluation.run_folder import PREDICTIONS
from egowm.files import check_folder
from egowm.network.precision import trainer_precision
from egowm.network.sharding import Sharded
from egowm.recipe import RecipeError, RecipeParser, refused_value
from egowm.training.checkpoints import RunCheckpoint, WholeCheckpoints, newest
from egowm.training.guard import ActionGuard
from egowm.training.health import Health
from egowm.training.latents.callback import FromCache
from egowm.training.loggers import run_loggers
from egowm.training.pictures import RolloutPictures
from egowm.training.progress import Progress, RunBar
from egowm.training.run_record import RunRecord
from egowm.training.summary import figures, summary
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)
TITLES = {  # by the first word of Lightning's
    "<class": "The model, --model CLASS (explained by --model.help CLASS)",
    "A": "The data, --data CLASS (explained by --data.help CLASS)",
    "Customize": "The trainer, Lightning's own",
    "Base": "An optimizer, --optimizer CLASS",
    "(<class": "Its schedule, --lr_scheduler CLASS",
    **dict.fromkeys(("Runs", "Run", "Perform"), "The run, Lightning's own"),
}
StrategyRegistry.register("sharded", Sharded, "FSDP2, see egowm.network.sharding", override=True)


class FitCLI(LightningCLI):
    """A recipe names the model, the data and the trainer; everything written goes under
    `--trainer.default_root_dir`."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.arguments = [str(word) for word in argv]
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(argv),
            save_config_kwargs={"overwrite": True},
            parser_class=RecipeParser,
            parser_kwargs={"prog": "egowm"},
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is asked: to describe the options of all four takes half a second."""
        return {k: v for k, v in super().subcommands().items() if k == self.arguments[0]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.set_defaults({"trainer.default_root_dir": "runs/default"})
        parser.add_argument(
            "--save_every",
            type=int,
            default=0,
            help="fit: steps between checkpoints; 0 saves after each validation",
        )
        parser.add_argument(
            "--guard_patience",
            type=int,
            default=5000,
            help="fit: steps for which a model may ignore its actions; 0 for ever",
        )
        parser.add_argument(
            "--cache",
            type=str,
            default="",
            help="fit: take latents from the folder that `egowm data cache` wrote",
        )
        parser.add_argument(
            "--pictures_every",
            type=int,
            default=5,
            help="fit: validations from one picture of rollouts to the next; 0 draws none",
        )
        parser.add_argument(
            "--announced_layout",
            type=bool,
            default=False,
            help="predict: also write <episode>/<start>_<end>/{GT,pred}/frames/f_1.png ...",
        )

        parser.add_argument(
            "--lerobot",
            type=bool,
            default=False,
            help="predict: also write the imagined clips as a LeRobot data set, RUN/imagined",
        )
        parser.add_argument(
            "--force", action="store_true", help="predict: replace predictions that are there"
        )

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        about = VERBS[subcommand].about
        kwargs["description"] = f"{about[0].upper()}{about[1:]}."
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        for group in parser._action_groups:  # jsonargparse cuts Lightning's in mid-sentence
            group.title = TITLES.get(str(group.title).partition(" ")[0], group.title)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """As the parent, without its warning about `sys.argv`: `main` passes what it was given."""
        try:
            self.config = parser.parse_args(args)
        except UnicodeDecodeError as error:
            raise RecipeError(f"The recipe is no text in UTF-8 ({error}).") from error
        given = self.config[self.config["subcommand"]]["trainer"]
        if not hasattr(given, "default_root_dir"):
            raise RecipeError(f"trainer: expected a section with options, got {given!r}.")

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise RecipeError(f"seed_everything: {error}") from error

    def _parse_ckpt_path(self) -> None:
        """Checkpoints hold no hyperparameters to merge: recipe and command line decide.

        "last" is the newest checkpoint of the run's folder; a fit without one starts.
        """
        subcommand = self.config["subcommand"]
        config = self.config[subcommand]
        if config.get("ckpt_path") != "last":
            return
        folder = _folder(config["trainer"])
        found = newest(folder)
        if found is None and subcommand != "fit":
            raise RecipeError(f"--ckpt_path last: expected a checkpoint in {folder}, found none.")
        if found is None:
            log.info("No checkpoint in %s yet: training starts.", folder)
        config["ckpt_path"] = None if found is None else str(found)

    def before_instantiate_classes(self) -> None:
        """Leave a record of the run, or look at the output, before anything can go wrong."""
        self.record: RunRecord | None = None
        config = self.config[self.subcommand]
        root = _root(config["trainer"])
        if self.subcommand == "predict":
            check_folder(root / "predictions", PREDICTIONS, config["force"])
            if config["lerobot"]:
                check_folder(root / "imagined", IMAGINED, config["force"])
        if self.subcommand == "fit" and getattr(rank_zero_only, "rank", 0) == 0:
            recipe = self._parser(self.subcommand).dump(config, skip_unset=False)
            self.record = RunRecord(root, self.arguments, yaml.safe_load(recipe))

    def instantiate_classes(self) -> None:
        """Build the parts; a value that a constructor refuses is the user's mistake."""
        with self._recorded():
            try:
                super().instantiate_classes()
                self._go_on()
            except (ValueError, TypeError) as error:
                cause: BaseException = error
                while cause.__cause__ is not None:
                    cause = cause.__cause__
                line = explain(cause) if isinstance(cause, Exception) else None
                if (line := line or refused_value(error)) is None:
                    raise
                if self.record is not None:
                    self.record.withdraw()
                    self.record = None
                raise RecipeError(line) from error

    def _go_on(self) -> None:
        """A checkpoint holds all of its weights: the export that training started from, which may
        be gone, is not read again."""
        if self.config[self.subcommand].get("ckpt_path") and isinstance(self.model, WorldModel):
            self.model.start = None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The recipe's trainer with what every run needs: checkpoints, guards, loggers."""
        options = self.config_init[self.subcommand]
        config = options["trainer"]
        bare, root = config.get("barebones"), _root(config)
        callbacks = _listed(config.get("callbacks"))
        if self.subcommand == "fit" and not bare:
            callbacks += self._watching(callbacks)
        if self.subcommand == "fit" and options["cache"]:
            callbacks.append(FromCache(options["cache"]))
        if config.get("enable_checkpointing") is not False and not bare:
            every = options["save_every"] if self.subcommand == "fit" else 0
            callbacks.append(RunCheckpoint(_folder(config), every))
        if self.subcommand == "predict":
            callbacks.append(PredictionWriter(root / "predictions", options["announced_layout"]))
            if options["lerobot"]:
                callbacks.append(ImaginedEpisodes(root / "imagined"))
        drawn = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if not (drawn or bare or config.get("enable_progress_bar") is False):
            callbacks.append(RunBar())
        if config.get("enable_model_summary") is None:  # a table of two lines, and no FLOPs
            kwargs["enable_model_summary"] = False
        plugins = _listed(config.get("plugins"))
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(WholeCheckpoints())
        if not bare:
            kwargs["logger"] = run_loggers(root, config.get("logger"))
        kwargs["precision"] = trainer_precision(config["precision"], config["accelerator"])
        if self.subcommand == "predict" and config["devices"] == "auto":
            kwargs["devices"] = 1
        try:
            trainer = super().instantiate_trainer(callbacks=callbacks, plugins=plugins, **kwargs)
        except (ValueError, TypeError, RuntimeError, MisconfigurationException) as error:
            raise RecipeError(f"trainer: {' '.join(str(error).split())}") from error
        if self.subcommand == "predict":
            _check_alone(trainer.world_size)
        return trainer

    def _watching(self, callbacks: list[Any]) -> list[Callback]:
        """What watches over a fit, where the recipe does not bring its own."""
        options = self.config_init[self.subcommand]
        guard = ActionGuard(patience=options["guard_patience"])
        own = [Health(), Progress(), guard, RolloutPictures(options["pictures_every"])]
        return [mine for mine in own if not any(isinstance(c, type(mine)) for c in callbacks)]

    def _run_subcommand(self, subcommand: str) -> None:
        with self._recorded():
            super()._run_subcommand(subcommand)
        if self.record is not None:
            self.record.finish(**self._figures())
            log.info(summary(self.record.fields))

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Whatever ends the run is in its record."""
        try:
            yield
        except BaseException as error:
            if self.record is not None:
                self.record.finish(error, **self._figures())
            raise

    def _figures(self) -> dict[str, Any]:
        """What the run has come to; nothing where it never had a trainer."""
        trainer: Trainer | None = getattr(self, "trainer", None)
        return {} if trainer is None else figures(trainer, self.model)


def _check_alone(count: int) -> None:
    """Refuse processes of which each would replace what the others have predicted."""
    if count > 1:
        raise RecipeError(
            f"predict: expected one process, since one folder takes all clips, got {count}: give "
            f"--trainer.devices 1, or share the clips out, egowm eval --launch local:{count}."
        )


def _listed(given: Any) -> list[Any]:
    """What an option that takes one or several was given."""
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]


def _root(trainer: Any) -> Path:
    """The folder of the run of these trainer options."""
    return Path(trainer["default_root_dir"] or ".")


def _folder(trainer: Any) -> Path:
    """Where it keeps its checkpoints."""
    return _root(trainer) / "checkpoints"


def build(argv: Sequence[str]) -> FitCLI:
    """Run one Lightning subcommand and return the CLI with its model, data and trainer.

    `argv` includes the subcommand's name, and then its recipes: an option before `-c` is lost.
    Raises RecipeError, in one line, for a recipe or an option that does not fit.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _quieten()
    return FitCLI(argv)


def _quieten() -> None:
    """Each message once; none about other products, or about what is meant to be so."""
    lightning = logging.getLogger("lightning")
    lightning.propagate = False  # it has a handler of its own
    for handler in lightning.handlers:
        handler.addFilter(_about_this_run)
    for meant in (
        "Found .* in eval mode",
        "Checkpoint directory .* exists",
        "Be aware that when using `ckpt_path`, callbacks",  # our own ones, of training
        ".*LeafSpec",
    ):
        warnings.filterwarnings("ignore", meant, module=r"lightning\.")


def _about_this_run(record: logging.LogRecord) -> bool:
    return " Tip: " not in record.getMessage()
