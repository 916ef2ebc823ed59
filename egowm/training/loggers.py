"""Where a run's figures go: a CSV file always, TensorBoard where it is installed."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

log = logging.getLogger(__name__)
NAME = "lightning_logs"


def run_loggers(root: Path, given: Any) -> list[Logger]:
    """The loggers of a run in `root`, from what the recipe says of them.

    given: None or true for the default, false for none, or the recipe's own, which get a CSV file
    beside them. The CSV file is `<root>/lightning_logs/version_N/metrics.csv`.
    """
    if given is False:
        return []
    own = [] if given in (None, True) else list(given) if isinstance(given, list) else [given]
    if any(isinstance(logger, CSVLogger) for logger in own):
        return own
    version = _next_version(root / NAME)
    if not own and find_spec("tensorboard"):
        own = [TensorBoardLogger(root, NAME, version)]
    elif not own:
        log.info("TensorBoard is not installed: figures go to %s alone.", root / NAME)
    return [CSVLogger(root, NAME, version), *own]  # the first one's folder gets config.yaml


def _next_version(folder: Path) -> int:
    numbers = [path.name.removeprefix("version_") for path in folder.glob("version_*")]
    return max((int(number) for number in numbers if number.isdigit()), default=-1) + 1
