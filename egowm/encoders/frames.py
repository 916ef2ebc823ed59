"""What all that learns from the frames of clips shares: sizes, schedules, checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from egowm.checks import check_between, check_shape, shown
from egowm.clip import Clip
from egowm.encoder import MOST_PIXELS
from egowm.network.optimizer import adamw, use_schedule
from egowm.on_hub import OnHub
from egowm.pixels import to_unit
from egowm.randomness import StepSeeds


class FrameModule(OnHub, LightningModule, ABC):
    """A network that learns from the frames of any clips; their actions are not used.

    Args:
        size: H and W of the frames.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        weight_decay: AdamW's.
    """

    beta2 = 0.999  # share of its average of squared gradients that an AdamW step keeps

    def __init__(self, size: int, learning_rate: float, warmup: int, weight_decay: float) -> None:
        super().__init__()
        check_between("size", size, 8, MOST_PIXELS)
        if warmup < 0 or weight_decay < 0:
            raise ValueError(
                f"Expected warmup and weight_decay of 0 or more, got {warmup} and {weight_decay}."
            )
        self.size, self.learning_rate = size, learning_rate
        self.warmup, self.weight_decay = warmup, weight_decay

    @abstractmethod
    def losses(
        self, frames: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Scalar loss and logs of frames in [0, 1]: (M, 3, H, W), or videos (B, F, 3, H, W)."""

    # Training -------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        data: Any = getattr(self.trainer, "datamodule", None)
        if hasattr(data, "window"):
            self.check_size(data.window.height, data.window.width)

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames of another size than that it is built for."""
        if (height, width) != (self.size, self.size):
            raise ValueError(
                f"{type(self).__name__} is built for frames of {self.size}x{self.size}, got "
                f"{height}x{width}: set --model.size, or --data.window.height and .width."
            )

    def configure_callbacks(self) -> list[Callback]:
        return [StepSeeds()]

    def videos_of(self, clip: Clip) -> Tensor:
        """All frames of a batch of clips, (B, F, 3, H, W) in [0, 1] on the model's device."""
        if clip.is_cached:
            raise ValueError(
                f"{type(self).__name__} learns from frames: leave the latent cache out."
            )
        check_shape("clip.frames", clip.frames, "B frames 3 H W")
        if clip.frames.dtype != torch.uint8:
            raise ValueError(f"Expected a clip of uint8 frames, got {shown(clip.frames)}.")
        self.check_size(*clip.frames.shape[-2:])
        return to_unit(clip.frames.to(self.device))

    def log_losses(self, stage: str, total: Tensor, logs: Mapping[str, Tensor], size: int) -> None:
        """Log the loss and what belongs to it.

        Args:
            stage: "train" or "val", the beginning of their names.
            total: The loss.
            logs: Scalars by name.
            size: Examples of the batch.
        """
        self.log(f"{stage}/loss", total.detach(), batch_size=size, prog_bar=True)
        for name, value in logs.items():
            self.log(f"{stage}/{name}", value, batch_size=size)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        options: dict[str, Any] = {"weight_decay": self.weight_decay, "beta2": self.beta2}
        return adamw(self.parameters(), self.learning_rate, self.warmup, steps, **options)

    def on_train_start(self) -> None:
        use_schedule(self.trainer, self.learning_rate)

    # Checkpoints ----------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["egowm"] = {"encoder": type(self).__name__}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        name = type(self).__name__
        if checkpoint.get("egowm", {}).get("encoder") != name:
            raise ValueError(
                f"The checkpoint is not of {name}: give one that a fit of this recipe wrote."
            )
        self.configure_model()
        own = {key: weight.shape for key, weight in self.state_dict().items()}
        if own != {key: weight.shape for key, weight in checkpoint["state_dict"].items()}:
            raise ValueError(
                f"The checkpoint's {name} has other networks: give the arguments that it was "
                f"trained with (config.yaml in the run's lightning_logs/version_N)."
            )
