"""Pretraining a video prior without actions, with SVD's convention: frame 0 repeats the context."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from egowm.backbones.svd import SVD
from egowm.data.clip import Clip
from egowm.diffusion import denoising_loss
from egowm.optimisation import adamw


class VideoPrior(LightningModule):
    """Trains an SVD backbone's UNet and image encoder on clips, ignoring their actions.

    backbone: its `random` parts start from scratch. drop_image: share of samples without their
    image, for guidance. next_frame: share of the steps that draw a single frame, the one after the
    context (T of them from each clip); the others draw whole videos whose frame 0 repeats the
    context, as SVD's does. When fitting ends, `<default_root_dir>/prior` holds a
    `StableVideoDiffusionPipeline` folder in float16.
    """

    def __init__(
        self,
        backbone: SVD,
        learning_rate: float = 5e-4,
        warmup: int = 200,
        drop_image: float = 0.1,
        next_frame: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= next_frame <= 1:
            raise ValueError(
                f"Expected next_frame, a share of the steps, in [0, 1], got {next_frame}."
            )
        self.backbone = backbone
        self.learning_rate, self.warmup, self.drop_image = learning_rate, warmup, drop_image
        self.next_frame = next_frame

    def configure_model(self) -> None:
        self.backbone.load()
        self.backbone.image_encoder.requires_grad_(True).train()

    def on_fit_start(self) -> None:
        torch.manual_seed(torch.initial_seed() + self.global_rank)  # ranks draw other noise

    def loss(self, clip: Clip, single: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Denoise context and future frames (B, 1+T, ...) given the context; `single`: each frame
        1..T by itself, given the one before."""
        frames = clip.frames.float() / 127.5 - 1
        context, target = frames[:, :1], frames
        if single:
            context = frames[:, :-1].flatten(0, 1)[:, None]
            target = frames[:, 1:].flatten(0, 1)[:, None]
        count = len(context)
        with torch.no_grad():
            latents = self.backbone.encode(target)
        strength = self.backbone.training_noise(count, None).to(frames)
        condition = self.backbone.condition(context, strength)
        condition = condition.without_image(torch.rand(count, device=self.device) < self.drop_image)

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            clean: Tensor = self.backbone(noisy, sigma, condition)
            return clean

        return denoising_loss(self.backbone.process, estimate, latents)

    def training_step(self, clip: Clip, batch_idx: int) -> Tensor:
        chance = torch.Generator().manual_seed(self.global_step)  # the same on every rank
        single = float(torch.rand((), generator=chance)) < self.next_frame
        total, logs = self.loss(clip, single)
        kind = "train/next_frame" if single else "train"
        self.log(f"{kind}/loss", total.detach(), prog_bar=not single)
        for name, value in logs.items():
            self.log(f"{kind}/{name}", value)
        return total

    def validation_step(self, clip: Clip, batch_idx: int) -> None:
        size = len(clip.frames)
        self.log("val/loss", self.loss(clip)[0], batch_size=size, prog_bar=True)
        if self.next_frame:
            self.log("val/next_frame/loss", self.loss(clip, True)[0], batch_size=size)

    def configure_optimizers(self) -> Any:
        steps = int(self.trainer.estimated_stepping_batches)
        return adamw(self.parameters(), self.learning_rate, self.warmup, steps)

    def on_fit_end(self) -> None:
        if self.trainer.is_global_zero:
            save_pipeline(self.backbone, Path(self.trainer.default_root_dir) / "prior")


def save_pipeline(backbone: SVD, folder: Path) -> None:
    """Write the backbone as a float16 pipeline folder that diffusers loads by itself.

    Parts that were not trained (scheduler, feature extractor, index) are copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, module in (
        ("vae", backbone.vae),
        ("unet", backbone.network),
        ("image_encoder", backbone.image_encoder),
    ):
        copy.deepcopy(module).half().save_pretrained(folder / part)  # type: ignore[operator]
    if folder.resolve() == backbone.folder.resolve():
        return
    for part in ("scheduler", "feature_extractor"):
        shutil.copytree(backbone.folder / part, folder / part, dirs_exist_ok=True)
    index = json.loads((backbone.folder / "model_index.json").read_text())
    index["vae"] = ["diffusers", type(backbone.vae).__name__]  # it may have been replaced
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
