"""`val/scs`: the Structural Consistency Score at validation, of clips that the model imagines."""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import default_collate

from egowm.clip import Clip
from egowm.data import ClipData
from egowm.data.module import Windows
from egowm.dynamics import Dynamics
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.scs.annotation.annotations import find_annotations, read_annotation
from egowm.scs.masks import ObjectMasks, resize_nearest
from egowm.scs.metric import SCS
from egowm.scs.score import MIN_AREA
from egowm.scs.trackers import Tracker, load_tracker
from egowm.scs.tracking import track_frames, without_evidence

log = logging.getLogger(__name__)
SCORES = ("scs", "scs_davis", "scs_visible")


class StructureScore(Callback):
    """Logs `val/scs`, `val/scs_davis` and `val/scs_visible` at the end of each validation.

    Args:
        clips: validation clips, spread evenly over the split and shared out over the processes;
            always the same ones under the same noise.
        horizon: frames imagined of each clip; 0 takes the data's own.
        tracker: a short name or class path, as for `egowm-scs`.
        weights: sam2's weights: a .pt file, a folder or a cached id.
        annotations: folder with the structures of each clip's last context frame; without one the
            data must know them, as the embedded rooms do.
        steps: sampling steps; the model's by default.

    >>> StructureScore(clips=4, horizon=8).horizon
    8
    """

    def __init__(
        self,
        clips: int = 16,
        horizon: int = 0,
        tracker: str = "palette",
        weights: str | None = None,
        annotations: str | None = None,
        steps: int | None = None,
    ) -> None:
        if clips < 1 or horizon < 0:
            raise ValueError(
                f"StructureScore: expected at least 1 clip and a horizon of 0 or more, got {clips} "
                f"and {horizon}."
            )
        found = load_tracker(tracker, weights)
        if not isinstance(found, Tracker):
            raise ValueError(f"StructureScore: {tracker!r} reads masks from disk, not frames.")
        self.tracker, self.annotations, self.steps = found, annotations, steps
        self.clips, self.horizon = clips, horizon

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not isinstance(pl_module, Dynamics):
            return
        if not pl_module.makes_frames:
            return
        windows = self._windows(trainer)
        count = min(self.clips, len(windows))
        metric = SCS().to(pl_module.device)
        # As many for each process, for a sharded network computes on all of them at once; a number
        # that comes again is counted once.
        for k in range(math.ceil(count / trainer.world_size)):
            number = (k * trainer.world_size + trainer.global_rank) % count
            self._add(metric, pl_module, windows[number * len(windows) // count], number)
        found = metric.compute()
        for name in SCORES:
            if found[name].isnan():
                log.warning("val/%s is undefined: no structure could be judged", name)
            else:
                pl_module.log(
                    f"val/{name}", found[name], prog_bar=name == "scs", rank_zero_only=True
                )

    def _windows(self, trainer: Trainer) -> Windows:
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, ClipData):
            raise ValueError(
                f"StructureScore: expected a data module of egowm.data, got {type(data).__name__}."
            )
        self.data = data if not self.horizon else data.with_horizon(self.horizon)
        return self.data.windows("val", tiled=True)

    @torch.no_grad()
    def _add(self, metric: SCS, model: Dynamics, clip: Clip, number: int) -> None:
        """Imagine one clip, follow its structures in truth and prediction, and count."""
        context = len(clip.frames) - len(clip.actions)
        made = model.rollout_of(
            Clip(*default_collate([clip])),
            how=Sampling(steps=self.steps),
            generator=[torch.Generator().manual_seed(number)],
        )
        frames = clip.frames[context - 1 :].permute(0, 2, 3, 1).numpy().copy()
        imagined = np.concatenate([frames[:1], to_uint8(made.frames[0])])
        size = (frames.shape[1], frames.shape[2])
        drawn = self._drawn(clip.name, size)
        truth, (found,) = track_frames(self.tracker, frames, [imagined], drawn, MIN_AREA)
        if not truth.ids:
            return  # all were doubtful in the truth itself
        here = without_evidence(self.tracker, found.tracks)
        lost = here & ~without_evidence(self.tracker, truth.tracks)
        masks, target = torch.from_numpy(found.tracks.masks), torch.from_numpy(truth.tracks.masks)
        metric.update(masks, target, lost=torch.from_numpy(lost), clip=number)

    def _drawn(self, name: str, size: tuple[int, int]) -> ObjectMasks:
        """The structures of a clip's last context frame, (1, O, H, W)."""
        if self.annotations is not None:
            return read_annotation(find_annotations(Path(self.annotations), [name])[name], size)
        annotate = getattr(self.data, "annotation", None)
        if annotate is None:
            raise ValueError(
                f"StructureScore: {self.data.source} does not know the structures of {name}: give "
                f"annotations, a folder that `egowm-scs annotate` wrote."
            )
        labels = annotate(name)
        ids = tuple(int(k) for k in np.unique(labels) if k)
        masks = resize_nearest(labels == np.array(ids)[:, None, None], *size)
        return ObjectMasks(ids, masks[None], np.zeros((1, *size), bool))
