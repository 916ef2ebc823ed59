"""Checkpoints that are whole or not there: how a run writes, keeps and reads them."""

import logging
import shutil
import struct
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from egowm.files import whole
from egowm.unfinished import sweep

log = logging.getLogger(__name__)
LAST = "last.ckpt"
_OF_A_RUN = ("state_dict", "global_step", "loops", "callbacks")  # what Lightning writes, too
_UNREADABLE = (  # what reading a damaged archive may raise
    zipfile.BadZipFile,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    struct.error,
)


class CheckpointError(Exception):
    """A checkpoint that cannot be written or read; the message says what to do."""


class WholeCheckpoints(CheckpointIO):
    """Writes whole files or none, reads tensors and plain values only; a damaged file gives way to
    the one before it, with a warning."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        found = read_checkpoint(path)
        missing = [name for name in _OF_A_RUN if name not in found]
        if missing:
            raise CheckpointError(
                f"{path}: expected a checkpoint of `egowm fit`, which it cannot be without "
                f"{missing[0]}."
            )
        return found

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Stream a checkpoint to disk: whole, or not at all."""
    try:
        with whole(path) as temporary, temporary.open("wb") as stream:
            torch.save(checkpoint, stream)
    except (OSError, RuntimeError) as error:  # torch hides some errors of the disk in the second
        free = shutil.disk_usage(path.parent).free / 1e9
        raise CheckpointError(
            f"Cannot write {path} ({error}); {free:.1f} GB are free there. Checkpoints written "
            f"before are whole: make room, and go on with --ckpt_path last."
        ) from error


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """The checkpoint, on the CPU; where it is damaged, the newest whole one written before it.

    Raises FileNotFoundError, or CheckpointError for an address, a file that would run code, and
    where no whole checkpoint is left.
    """
    if "://" in str(path):
        raise CheckpointError(f"Checkpoints are read from disk, not from {path}: copy it here.")
    named = Path(path)
    if not named.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}.")
    file = named.resolve()
    for candidate in [file, *_before(file)]:
        damage = _damage(candidate)
        if damage is not None:
            log.warning("%s is damaged (%s)", candidate, damage)
            continue
        if candidate != file:
            log.warning("Taking the checkpoint before it: %s", candidate)
        try:
            found: Any = torch.load(candidate, "cpu", weights_only=True)
        except UnpicklingError as error:
            raise CheckpointError(
                f"{candidate} holds more than tensors and plain values, and reading it could run "
                f"code: expected a checkpoint of egowm."
            ) from error
        except _UNREADABLE as error:
            log.warning("%s is damaged (%s)", candidate, " ".join(str(error).split())[:200])
            continue
        if not isinstance(found, dict):
            raise CheckpointError(
                f"{candidate}: expected a checkpoint of `egowm fit`, got a {type(found).__name__}."
            )
        return found
    raise CheckpointError(f"No whole checkpoint is left in {file.parent}: train again from start.")


def newest(folder: Path) -> Path | None:
    """The checkpoint that a run in this folder goes on from; None where there is none."""
    link = folder / LAST
    if link.is_file():
        return link
    return next(iter(_by_age(folder)), None)


class RunCheckpoint(Checkpoint):
    """Writes the newest checkpoints as `<folder>/step=N.ckpt`, and links `last.ckpt` to the newest.

    It also writes when training ends, and on SIGTERM where there is one process. The checkpoint
    before the newest is kept, in case the newest gets damaged.

    Args:
        folder: where checkpoints are written.
        every: optimizer steps between checkpoints; 0 writes after each validation, or after each
            epoch without one.

    >>> RunCheckpoint(Path("runs/checkpoints"), every=500).every
    500
    """

    num_kept = 2

    def __init__(self, folder: Path, every: int = 0) -> None:
        if every < 0:
            raise ValueError(f"Expected save_every in steps, 0 or more, got {every}.")
        self.folder, self.every = folder, every
        self.path: Path | None = None  # of the newest that this run wrote
        self._step = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero and self.folder.is_dir():
            sweep(self.folder)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        if self.every and trainer.global_step and trainer.global_step % self.every == 0:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and not self.every:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.every and not trainer.enable_validation:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """SIGTERM arrives between two steps; any other exception may have come in the middle of
        one, and with several processes the others may be waiting elsewhere."""
        if isinstance(exception, SIGTERMException) and trainer.world_size == 1:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step == self._step or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        path = self.folder / f"step={trainer.global_step}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)  # said, or Lightning says so each time
        self._step, self.path = trainer.global_step, path
        if trainer.is_global_zero:
            _link(path)
            for old in _by_age(self.folder)[self.num_kept :]:
                old.unlink(missing_ok=True)


def _by_age(folder: Path) -> list[Path]:
    """A run's checkpoints, the newest first."""
    return sorted(folder.glob("step=*.ckpt"), key=lambda p: p.stat().st_mtime_ns, reverse=True)


def _before(file: Path) -> list[Path]:
    """Those of the same folder that are older, the newest first."""
    others = _by_age(file.parent)
    return others[others.index(file) + 1 :] if file in others else []


def _damage(path: Path) -> str | None:
    """What is wrong with a file as such, by its checksums; None where it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except _UNREADABLE as error:
        return str(error)
    return None if broken is None else f"{broken} does not match its checksum"


def _link(path: Path) -> None:
    """Point `last.ckpt` at a checkpoint beside it, in one step."""
    with whole(path.with_name(LAST)) as temporary:
        try:
            temporary.symlink_to(path.name)
        except OSError as error:  # a file system without links
            log.info("%s is a copy of %s, no link (%s)", LAST, path.name, error)
            shutil.copyfile(path, temporary)
