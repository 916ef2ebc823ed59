"""Rollouts to look at in validation: truth, true actions, another clip's; and what the actions do.

The picture has a column for each frame. Where the second and the third row of a clip are the same,
the model ignores its actions.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor
from torch.utils.data import default_collate

from egowm.clip import Clip
from egowm.dynamics import Dynamics
from egowm.files import whole
from egowm.pixels import psnr
from egowm.sampling import Sampling
from egowm.video import webp_bytes, write_image

log = logging.getLogger(__name__)
NAME = "rollout"
COLUMNS = 9  # frames shown at most, the context's last among them
MIN_SIDE = 96  # pixels: smaller frames are magnified by a whole number
LABELS = ("truth", "true actions", "another clip's")
_LABEL_WIDTH = 100


class RolloutPictures(Callback):
    """Draws rollouts of some validation clips during a fit, with the same noise each time.

    Logs `rollout/psnr` and `rollout/psnr_shuffled`, dB against the truth under the true and under
    another clip's actions, and `rollout/action_gain`, their difference: 0 for a model that ignores
    its actions. The picture is `<default_root_dir>/pictures/step=N.png`, and goes to TensorBoard
    and to loggers with `log_image`; the same frames move side by side in `step=N.webp`. Nothing is
    drawn where validation reads a latent cache, which has no pixels.

    Args:
        every: validations from one picture to the next; 0 never draws.
        clips: clips that are drawn, at least 2.
        steps: sampling steps, at most; a rough rollout is enough to look at.

    >>> RolloutPictures(every=2, steps=4).every
    2
    """

    def __init__(self, every: int = 5, clips: int = 2, steps: int = 8) -> None:
        if every < 0 or clips < 2 or steps < 1:
            raise ValueError(
                f"RolloutPictures: expected every of 0 or more, at least 2 clips and 1 step, got "
                f"{every}, {clips} and {steps}."
            )
        self.every, self.clips, self.steps = every, clips, steps
        self.validations = 0
        self._found: list[Clip] = []
        self._due = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._found, self._due = [], False
        if trainer.state.fn != "fit" or trainer.sanity_checking or not self.every:
            return
        drawn = isinstance(pl_module, Dynamics) and pl_module.makes_frames
        self._due = drawn and self.validations % self.every == 0
        self.validations += 1

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Clip,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        missing = self.clips - len(self._found)
        known = self._found[0].source if self._found else batch.source[0]
        if self._due and missing > 0 and batch.source[0] == known and not batch.is_cached:
            self._found += _spread(batch, missing)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._due:
            return
        assert isinstance(pl_module, Dynamics)
        sums = torch.zeros(3, device=pl_module.device)  # of both PSNRs, and how many took part
        if len(self._found) > 1:
            batch = Clip(*default_collate(self._found))
            rollouts = roll_out(pl_module, batch, min(self.steps, pl_module.steps))
            truth = _scaled(batch)[:, -batch.actions.shape[1] :]
            sums[:2] = torch.tensor([psnr(made, truth, peak=1.0, limit=100.0) for made in rollouts])
            sums[2] = 1
            if trainer.is_global_zero:
                shown = _scaled(batch).cpu(), [made.cpu() for made in rollouts]
                spec = pl_module.spec_of(pl_module.source_of(batch))
                self._show(trainer, strip(*shown), film(*shown), spec.rate_hz)
        sums = trainer.strategy.reduce(sums, reduce_op="sum")
        if not sums[2]:
            log.info("No rollout is drawn: it takes 2 validation clips of one source, in pixels.")
            return
        true, shuffled = (sums[:2] / sums[2]).tolist()
        figures = {"psnr": true, "psnr_shuffled": shuffled, "action_gain": true - shuffled}
        for name, value in figures.items():
            pl_module.log(f"{NAME}/{name}", value, rank_zero_only=True)

    def _show(self, trainer: Trainer, picture: np.ndarray, moving: np.ndarray, rate: float) -> None:
        folder = Path(trainer.default_root_dir) / "pictures"
        write_image(folder / f"step={trainer.global_step}.png", picture)
        with whole(folder / f"step={trainer.global_step}.webp") as temporary:
            temporary.write_bytes(webp_bytes(moving, rate))
        for logger in trainer.loggers:
            _send(logger, picture, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


@torch.no_grad()
def roll_out(model: Dynamics, batch: Clip, steps: int) -> list[Tensor]:
    """Frames (B, T, 3, H, W) in [0, 1] under the true and under another clip's actions.

    Clip k has the same noise in both; one sequence is computed at a time, as memory is short.
    """
    how, count = Sampling(steps=steps, micro_batch=1), len(batch.actions)
    return [
        model.rollout_of(
            batch, actions, how, generator=[torch.Generator().manual_seed(k) for k in range(count)]
        ).frames.float()
        for actions in (batch.actions, batch.actions.roll(1, 0))
    ]


def strip(truth: Tensor, rollouts: list[Tensor]) -> np.ndarray:
    """The picture (H', W', 3) uint8: for each clip three rows under each other.

    truth: (B, K+T, 3, H, W) in [0, 1]. rollouts: (B, T, 3, H, W); each row opens with the context's
    last frame.
    """
    horizon = rollouts[0].shape[1]
    context = truth[:, -horizon - 1 : -horizon]
    columns = np.linspace(0, horizon, min(COLUMNS, horizon + 1)).round().astype(int)
    rows = [torch.cat([context, part], 1)[:, columns] for part in (truth[:, -horizon:], *rollouts)]
    factor = max(1, MIN_SIDE // max(truth.shape[-2:]))
    lines = []
    for clip in range(len(truth)):
        for label, row in zip(LABELS, rows, strict=True):
            frames = (row[clip].clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            large = frames.numpy().repeat(factor, 1).repeat(factor, 2)
            lines.append(np.concatenate([_label(label, large.shape[1]), *large], axis=1))
        lines.append(np.full((4, *lines[-1].shape[1:]), 255, np.uint8))
    return np.concatenate(lines[:-1])


def film(truth: Tensor, rollouts: list[Tensor]) -> np.ndarray:
    """Frames (T+1, H', W', 3) uint8: for each clip a line of truth, true actions, another clip's.

    truth, rollouts: as for `strip`.
    """
    horizon = rollouts[0].shape[1]
    context = truth[:, -horizon - 1 : -horizon]
    sides = [torch.cat([context, part], 1) for part in (truth[:, -horizon:], *rollouts)]
    lines = torch.cat(sides, -1).transpose(0, 1)  # (T+1, B, 3, H, 3 W)
    frames = (lines.clamp(0, 1) * 255).round().to(torch.uint8).movedim(2, -1).flatten(1, 2)
    factor = max(1, MIN_SIDE // max(truth.shape[-2:]))
    return frames.numpy().repeat(factor, 1).repeat(factor, 2)


def _spread(batch: Clip, count: int) -> list[Clip]:
    """Clips evenly over a batch: neighbours are often of one recording."""
    size = len(batch.actions)
    numbers = [k * size // min(count, size) for k in range(min(count, size))]
    return [batch.one(k) for k in numbers]


def _scaled(batch: Clip) -> Tensor:
    return batch.frames.float() / 255


def _label(text: str, height: int) -> np.ndarray:
    """Dark text on white (height, 100, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (_LABEL_WIDTH, height), "white")
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(image).text((4, height // 2 - 8), text, fill=(20, 20, 20), font=font)
    return np.array(image)


def _send(logger: Logger, picture: np.ndarray, step: int) -> None:
    """To a logger that takes pictures."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(NAME, picture, step, dataformats="HWC")
    elif hasattr(logger, "log_image"):
        logger.log_image(NAME, [picture], step=step)
