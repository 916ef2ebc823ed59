"""What the trainers of image encoders share: crops, teacher, alarm of a collapse, exports."""

import logging
from abc import abstractmethod
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from egowm.checks import check_between, checked
from egowm.clip import Clip
from egowm.encoder import ENCODER, Encoder
from egowm.encoders.crops import random_crops
from egowm.encoders.frames import FrameModule
from egowm.encoders.probes import spread

log = logging.getLogger(__name__)
COLLAPSED = 0.02  # spread of embeddings below which they hardly differ
MOST = 65_536  # channels, layers ...: a damaged digit asks for terabytes


class EncoderModule(FrameModule):
    """A vision transformer that learns from the frames of any clips; their actions are not used.

    A student learns by gradients, a teacher is its moving average and is exported. A class gives
    `network`, `losses` and, where it trains more than the student, `build`.

    Args:
        size: H and W of the frames, a multiple of `patch`.
        patch: H and W of a patch in pixels.
        width: Channels of the transformer, a multiple of `heads`.
        layers: Its layers.
        heads: Its attention heads.
        crop: Smallest share of a frame's area that is cut out and enlarged in training, in (0, 1];
            1 leaves frames as they are.
        momentum: Share of itself that the teacher keeps in the first step, in [0, 1]; it rises
            to 1 linearly.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        weight_decay: AdamW's.
    """

    export_kind = ENCODER

    def __init__(
        self,
        size: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        crop: float,
        momentum: float,
        learning_rate: float,
        warmup: int,
        weight_decay: float,
    ) -> None:
        super().__init__(size, learning_rate, warmup, weight_decay)
        parts = {"patch": patch, "width": width, "layers": layers, "heads": heads}
        for name, number in parts.items():
            check_between(name, number, 1, MOST)
        if size % patch:
            raise ValueError(
                f"Expected a size that is a multiple of the patch, got {size} and {patch}."
            )
        if width % heads:
            raise ValueError(
                f"Expected a width that is a multiple of the heads, got {width} and {heads}."
            )
        check_between("crop", crop, 0.01, 1.0)
        check_between("momentum", momentum, 0.0, 1.0)
        self.patch, self.width = patch, width
        self.layers, self.heads = layers, heads
        self.crop, self.momentum = crop, momentum
        self._seen: list[Tensor] = []  # embeddings of this validation

    # What a class gives ---------------------------------------------------------------------------

    @abstractmethod
    def network(self) -> nn.Module:
        """A new vision transformer of transformers, with random weights."""

    @abstractmethod
    def losses(
        self, frames: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and logs of frames (M, 3, H, W) in [0, 1]."""

    def build(self) -> None:
        """Make what is trained beside the student, such as heads; nothing by default."""

    def teach(self, momentum: float) -> None:
        """Move the teacher towards the student; a class whose heads have a teacher moves it, too.

        Args:
            momentum: Share of itself that the teacher keeps, in [0, 1].
        """
        follow(self.teacher, self.student, momentum)

    def keeps(self, done: float) -> float:
        """Share of itself that the teacher keeps in a step; from `momentum` to 1 in a line.

        Args:
            done: Share of all optimizer steps that were done before, in [0, 1].
        """
        return self.momentum + (1 - self.momentum) * done

    # Training -------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        if hasattr(self, "student"):
            return
        self.student = self.network()
        self.teacher = deepcopy(self.student).requires_grad_(False)
        self.build()

    def train(self, mode: bool = True) -> "EncoderModule":
        """The teacher stays in eval mode."""
        super().train(mode)
        if hasattr(self, "teacher"):
            self.teacher.eval()
        return self

    def frames_of(self, clip: Clip) -> Tensor:
        """All frames of a batch of clips, (M, 3, H, W) in [0, 1] on the model's device."""
        return self.videos_of(clip).flatten(0, 1)

    def losses_of(
        self, clip: Clip, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and logs of a batch of clips; in training, of crops of its frames."""
        frames = self.frames_of(clip)
        if self.training and self.crop < 1:
            frames = random_crops(frames, self.size, (self.crop, 1.0), generator)
        return self.losses(frames, generator)

    @property
    def progress(self) -> float:
        """Share of all optimizer steps that are done, in [0, 1]; 0 in a run without end, and where
        there is no run."""
        if self._trainer is None:
            return 0.0
        return min(1.0, self._trainer.global_step / self._trainer.estimated_stepping_batches)

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        total, logs = self.losses_of(clip, None)
        self.log_losses("train", total, logs, len(clip.frames))
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The teacher follows at once, so that every checkpoint holds both after the same step."""
        keeps = self.keeps(self.progress)
        super().optimizer_step(*args, **kwargs)
        self.teach(keeps)

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        frames = self.frames_of(clip)
        total, logs = self.losses_of(clip, torch.Generator().manual_seed(batch_idx))
        self.log_losses("val", total, logs, len(clip.frames))
        self._seen.append(self.encoder().encode(frames).cls.float())

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log the spread of the teacher's embeddings, and warn where they are all alike."""
        found = spread(torch.cat(self._seen))
        self._seen.clear()
        self.log("val/spread", found, sync_dist=True)
        if found < COLLAPSED and not self.trainer.sanity_checking:
            log.warning(
                "The embeddings of different frames are nearly the same (spread %.3f, expected "
                "above %.2f): the encoder collapses. Lower --model.learning_rate, or raise "
                "--model.momentum.", found, COLLAPSED,
            )  # fmt: skip

    on_test_epoch_end = on_validation_epoch_end

    # Exports --------------------------------------------------------------------------------------

    def encoder(self) -> Encoder:
        """The teacher, which shares its weights with the model."""
        if not hasattr(self, "teacher"):
            raise ValueError(
                f"{type(self).__name__} has no networks yet: call configure_model(), or fit it."
            )
        return Encoder(self.teacher, self.size)

    @checked
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the teacher as a folder that `Encoder.from_pretrained` and transformers open.

        Args:
            folder: New, or one that was written so before, which is replaced.
            dtype: The weights are rounded to it; None keeps theirs.
        """
        self.encoder().save_pretrained(folder, dtype)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move each weight of a teacher towards the student's: m * teacher + (1 - m) * student.

    Args:
        teacher: Of the same shape as the student.
        student: The network that is trained.
        momentum: m, in [0, 1].
    """
    pairs = zip(teacher.parameters(), student.parameters(), strict=True)
    for kept, new in pairs:
        kept.mul_(momentum).add_(new.detach(), alpha=1 - momentum)
