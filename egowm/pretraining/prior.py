"""Pretraining a video prior without actions, in the convention of its family's pipeline."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file
from torch import Tensor

from egowm.backbones.base import Backbone
from egowm.backbones.codec_wrappers import Cached
from egowm.clip import Clip
from egowm.diffusion import denoising_loss
from egowm.exported_weights import EARLIER
from egowm.files import FolderKind, check_folder, filled
from egowm.loading import EMPTY, INDEX, read_json
from egowm.network.finite import check_finite, check_rounded
from egowm.network.optimizer import adamw, use_schedule
from egowm.pipeline_folder import load_in_float32
from egowm.pixels import to_model
from egowm.randomness import StepSeeds

COPIED = {"scheduler", "feature_extractor", "image_processor", "image_encoder"}
OWN = COPIED | {EMPTY, INDEX}
PIPELINE = FolderKind("egowm fit", r".+", lambda folder: True)  # others' files in it stay


class VideoPrior(LightningModule):
    """A video prior: a backbone trained on clips without their actions.

    Network and image encoder are trained. When fitting ends, `<default_root_dir>/prior` holds a
    pipeline folder of the family in float16.

    Args:
        backbone: Pipeline whose network is trained; its `random` parts start from random weights.
        learning_rate: Highest learning rate, reached after the warm-up.
        warmup: Optimizer steps of linear warm-up, 0 or more.
        drop_image: Share of training samples without the context image, in [0, 1], for guidance,
            in a family that has one.
        next_frame: Share of the steps, in [0, 1], that draw single frames, each given the one
            before; the others draw whole videos, which start with the context.

    >>> from egowm.backbones import SVD
    >>> model = VideoPrior(SVD("./priors/rooms-svd"), next_frame=0.5)
    >>> model.configure_model()
    >>> sum(weight.numel() for weight in model.backbone.network.parameters()) // 1000  # thousands
    5517
    """

    def __init__(
        self,
        backbone: Backbone,
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
        backbone.check_pipeline()
        self.backbone = backbone
        self.learning_rate, self.warmup, self.drop_image = learning_rate, warmup, drop_image
        self.next_frame = next_frame

    def configure_model(self) -> None:
        self.backbone.load()
        encoder = self.backbone.parts.get("image_encoder")
        if encoder is not None:
            encoder.requires_grad_(True).train()

    def configure_callbacks(self) -> list[Callback]:
        return [StepSeeds()]

    def on_fit_start(self) -> None:
        if self.trainer.is_global_zero:  # before the hours of training
            check_folder(self._output, PIPELINE, force=True)

    @property
    def _output(self) -> Path:
        return Path(self.trainer.default_root_dir) / "prior"

    def on_train_start(self) -> None:
        use_schedule(self.trainer, self.learning_rate)

    def loss(self, clip: Clip, single: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Denoise context and future frames (B, 1+T, ...) given the context; `single`: each frame
        1..T by itself, given the one before."""
        backbone = self.backbone
        if clip.is_cached:
            self._refuse_single()
            videos, context = clip.scaled(1)
        else:
            videos = to_model(clip.frames)
            if single:
                videos = torch.stack([videos[:, :-1], videos[:, 1:]], 2).flatten(0, 1)
            context = videos[:, :1]
        starts_with_context, count = backbone.context_latents or not single, len(videos)
        codec = Cached(backbone.codec, clip.encodings) if clip.is_cached else backbone.codec
        with torch.no_grad():
            latents = codec.encode(videos if starts_with_context else videos[:, 1:])
        strength = backbone.training_noise(count, None).to(videos)
        condition = backbone.condition(context, strength, num_frames=videos.shape[1], codec=codec)
        if "image" in backbone.droppable:
            drop = torch.rand(count, device=self.device) < self.drop_image
            condition = condition.without_image(drop)

        def estimate(noisy: Tensor, sigma: Tensor) -> Tensor:
            clean: Tensor = backbone(noisy, sigma, condition)
            return clean

        process = backbone.process_for(latents.shape[1], (videos.shape[-2], videos.shape[-1]))
        return denoising_loss(process, estimate, latents, given=backbone.context_latents)

    def _refuse_single(self) -> None:
        if self.next_frame:
            raise ValueError(
                "A latent cache keeps the pixels of contexts alone, and next_frame makes every "
                "frame one: set --model.next_frame 0, or train from pixels."
            )

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
            save_pipeline(self.backbone, self._output)


def save_pipeline(backbone: Backbone, folder: Path) -> None:
    """Write the backbone as a pipeline folder with float16 weights that diffusers loads by itself.

    What is not in the backbone's parts (scheduler, index, Wan's frozen image encoder) is copied;
    text encoders are left out, and the text "" is there as a file.
    """
    names = set(backbone.parts) if _is_base(backbone, folder) else OWN | set(backbone.parts)
    kept = {path.name for path in folder.iterdir()} - names if folder.is_dir() else ()
    with filled(folder, PIPELINE._replace(keeps=kept)) as temporary:
        for name, module in backbone.parts.items():
            half, exact = copy.deepcopy(module).half(), dict(module.named_parameters())
            check_finite(exact, f"The {name}", f"{EARLIER}.")
            advice = "A pipeline's folder is in float16: train with weight decay or a lower rate."
            check_rounded(dict(half.named_parameters()), exact.__getitem__, f"The {name}", advice)
            half.save_pretrained(temporary / name)
            load_in_float32(temporary / name)
        if not _is_base(backbone, folder):
            _copy_rest(backbone, temporary)


def _is_base(backbone: Backbone, folder: Path) -> bool:
    return folder.resolve() == backbone.folder.resolve()


def _copy_rest(backbone: Backbone, folder: Path) -> None:
    """What is not in the backbone's parts."""
    for name in COPIED - set(backbone.parts):
        if (backbone.folder / name).is_dir():
            shutil.copytree(backbone.folder / name, folder / name)
    if backbone.codec.texts:
        embedding, mask = backbone.codec.texts([""], torch.device("cpu"))
        save_file({"embedding": embedding[0], "mask": mask[0]}, folder / EMPTY)
    index = read_json(backbone.folder, INDEX)
    index["vae"] = ["diffusers", type(backbone.parts["vae"]).__name__]  # it may be another
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    backbone.save_settings(folder)
