"""Fitting from a latent cache in place of encoding frames."""

import logging
from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from egowm.backbones.base import Backbone
from egowm.data.module import ClipData, Windows
from egowm.training.latents.cache import LatentCache
from egowm.training.latents.clips import CachedClips, found_in

log = logging.getLogger(__name__)


class FromCache(Callback):
    """Training and validation clips from a latent cache in place of pixels.

    `egowm data cache` makes one. Test and prediction clips still come from pixels.

    Args:
        folder: Folder of the cache. One that does not fit the recipe, or is not whole, is refused
            before the first step, naming the difference.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data, backbone = getattr(trainer, "datamodule", None), getattr(pl_module, "backbone", None)
        if not isinstance(data, ClipData) or not isinstance(backbone, Backbone):
            raise ValueError(
                f"A latent cache serves a model with a backbone and the clips of a data set, got "
                f"{type(pl_module).__name__} and {type(data).__name__}: leave --cache out."
            )
        data.cache = Opened(self.folder, backbone) if stage == "fit" else None


class Opened:
    """A cache and the backbone that reads it; opened when the first loader is made, by when the
    model has its weights and its trained part is set."""

    def __init__(self, folder: Path, backbone: Backbone) -> None:
        self.cache, self.backbone, self._checked = LatentCache(folder), backbone, False

    def of(self, windows: Windows) -> CachedClips:
        """The cached encodings of some windows."""
        w = windows.window
        self.backbone.check_lengths(w.context, w.horizon)
        self.cache.check(self.backbone, (w.height, w.width), w)
        if not self._checked:
            self.cache.check_encoders(self.backbone)
            self.cache.check_whole()
            self.cache.remember_texts(self.backbone)
            self._checked = True
            log.info("Latents come from %s.", self.cache.folder)
        return found_in(self.cache, windows, self.backbone)
