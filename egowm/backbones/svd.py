"""Stable Video Diffusion: conditioning exactly as diffusers' `StableVideoDiffusionPipeline`.

- Context latent: `mode()` of the VAE on the noise-augmented image, *without* scaling factor;
  target latents with it.
- CLIP sees the clean image, resized to 224x224 as the pipeline does for a PIL picture.
- Added ids: fps - 1, motion bucket, the raw noise strength.
- The generator draws the augmentation noise first, then the latent noise.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from egowm.backbones.base import Backbone, Condition, Start, locate, not_negative
from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Remembered
from egowm.backbones.frame_codec import FrameCodec, load_vae
from egowm.backbones.schedulers import StockLevels, Supported, load_scheduler, tried
from egowm.checks import counted
from egowm.conditioning.injection import takes_actions
from egowm.diffusion import EDM, Generator, randn
from egowm.loading import load_model, load_processor, read_json, untrained
from egowm.network.single_frames import spare_padding

SCHEDULERS: Supported = {  # of an output and a time such as EDM's with unit data
    "EulerDiscreteScheduler": {
        "prediction_type": ("v_prediction",),
        "timestep_type": ("continuous",),
        "interpolation_type": ("linear",),  # the other takes a step more than is asked for
    },
}
Part = Literal["unet", "image_encoder"]
Predicts = Literal["frames", "changes"]


def enter(network: Any, embedding: Tensor) -> list[RemovableHandle]:
    """SVD: each stage receives `temb` (B*T, D); `time_embedding` itself is repeated after it."""
    flat = embedding.flatten(0, 1)

    def add(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        temb = kwargs["temb"]
        if temb.shape != flat.shape:
            raise ValueError(
                f"The embedding {tuple(embedding.shape)} does not fit the network's call: expected "
                f"B*t = {counted(temb.shape[0], 'vector')} of width {temb.shape[1]}."
            )
        return args, kwargs | {"temb": temb + flat.to(temb.dtype)}

    stages: list[Any] = [*network.down_blocks, network.mid_block, *network.up_blocks]
    return [stage.register_forward_pre_hook(add, with_kwargs=True) for stage in stages]


class SVD(Backbone):
    """Stable Video Diffusion, or a pipeline of the same parts, loaded from a local folder.

    Args:
        pretrained: Pipeline to start from: a folder, or a hub id that is in the local cache.
        revision: Commit of a hub id; null takes the one that is cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.
        vae_folder: Folder whose VAE replaces that of the pipeline; "" keeps the pipeline's.
        random: Parts that start from random weights, with the configuration in the folder: "unet",
            "image_encoder", both or none.
        start: Function of network and VAE that sets the weights of a random UNet, such as
            `egowm.pretraining.starts.copy_of_context`; null leaves them random.
        process_mean: Mean of ln sigma, the noise level in training.
        process_std: Standard deviation of ln sigma in training.
        fps: Frames per second that the network is told.
        motion_bucket: Amount of motion that the network is told, 0 to 255.
        noise_strength: Standard deviation of the noise on the context's pixels in [-1, 1] when
            sampling.
        noise_mean: Mean of the logarithm of that noise in training; null adds none.
        noise_std: Standard deviation of the logarithm of that noise in training.
        memo_frames: Number of frames whose latents and image embeddings are kept in main memory,
            so that a data set that fits is encoded once; 0 keeps none. Contexts with fresh noise
            are encoded every time.
        vae_batch: Frames that the VAE encodes at once, and decodes in whole videos; 0 encodes all,
            and decodes as many videos as suit the device.
        sampler_min: Lowest noise level above 0 that sampling in several steps visits, in place of
            the scheduler's own; null keeps it. Higher ones spend the last step where noise still
            hides something.
        predicts: What the network's output means: "frames", as in the stock pipeline, or "changes",
            what is added to the context's latents. Then an output of zero in a single step is the
            same picture, and the network draws no more than what moves; a random one takes no
            `start`. A network that was trained for the one learns the
            other anew.

    >>> svd = SVD("./priors/rooms-svd")  # loads nothing yet
    >>> svd.load()
    >>> svd.embedding_dim, svd.codec.temporal_stride
    (384, 1)
    """

    context_latents = 0  # the context enters by channel
    droppable = ("image",)
    temporal_layers = (
        "temporal_transformer_blocks",
        "time_pos_embed",
        "temporal_res_block",
        "time_mixer",
    )

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        download: bool = False,
        vae_folder: str = "",
        random: Sequence[Part] = (),
        start: Start | None = None,
        process_mean: float = 0.7,
        process_std: float = 1.6,
        fps: int = 7,
        motion_bucket: int = 180,
        noise_strength: float = 0.1,
        noise_mean: float | None = -3.0,
        noise_std: float = 0.5,
        memo_frames: int = 0,
        vae_batch: int = 0,
        sampler_min: float | None = None,
        predicts: Predicts = "frames",
    ) -> None:
        super().__init__()
        self.pretrained, self.revision, self.download = pretrained, revision, download
        self.vae_folder, self.random, self.start = vae_folder, tuple(random), start
        self.process_mean, self.process_std = process_mean, process_std
        self._fps, self.motion_bucket = fps, motion_bucket
        self.noise_strength, self.noise_mean, self.noise_std = noise_strength, noise_mean, noise_std
        not_negative(memo_frames=memo_frames, vae_batch=vae_batch)
        if sampler_min is not None and not 0 < sampler_min < math.inf:
            raise ValueError(f"Expected sampler_min, a noise level, above 0, got {sampler_min}.")
        if predicts not in get_args(Predicts):
            raise ValueError(f'Expected predicts "frames" or "changes", got {predicts!r}.')
        if predicts == "changes" and start is not None:
            raise ValueError(
                "start: it sets the weights of a network that draws frames, and with predicts "
                "changes the context would be added once more: leave start out (null)."
            )
        self.memo_frames, self.vae_batch, self.sampler_min = memo_frames, vae_batch, sampler_min
        self.predicts = predicts

    def load(self) -> None:
        """Load VAE, image encoder, UNet and scheduler in float32 (idempotent)."""
        if hasattr(self, "network"):
            return
        from diffusers import UNetSpatioTemporalConditionModel
        from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # a bar for every small file

        self.folder = folder = locate(self.pretrained, self.revision, self.download)
        scheduler = load_scheduler(folder, SCHEDULERS)
        if self.sampler_min is not None:
            scheduler.register_to_config(sigma_min=self.sampler_min)
        self.process = EDM(
            self.process_mean,
            self.process_std,
            schedule=tried(StockLevels(scheduler, folder / "scheduler")),
            starts_as_noise=scheduler.config.timestep_spacing != "leading",
        )
        self.vae = load_vae(Path(self.vae_folder or folder / "vae"))
        self.image_encoder = self._part("image_encoder", CLIPVisionModelWithProjection)
        self.network = takes_actions(self._part("unet", UNetSpatioTemporalConditionModel), enter)
        spare_padding(self.network)
        if "unet" in self.random and self.start is not None:
            self.start(self.network, self.vae)
        processor = load_processor(CLIPImageProcessor, folder / "feature_extractor")
        pretrained = {"vae": Path(self.vae_folder or folder / "vae")}
        if "image_encoder" not in self.random:
            pretrained["image_encoder"] = folder / "image_encoder"
        codec = FrameCodec(
            self.vae,
            self.image_encoder,
            processor,
            type(self).__name__,
            pretrained,
            self.vae_batch,
            noisy_context=self.noise_mean is not None,
        )
        self.codec = Remembered(codec, self.memo_frames) if self.memo_frames else codec

    def _part(self, name: Part, cls: Any) -> Any:
        """Pretrained, or with random weights where it is to start so."""
        return (untrained if name in self.random else load_model)(cls, self.folder / name)

    @property
    def parts(self) -> dict[str, Any]:
        return {"vae": self.vae, "unet": self.network, "image_encoder": self.image_encoder}

    def save_settings(self, folder: Path) -> None:
        """The lowest noise level of the scheduler, where it is another than the base's."""
        if self.sampler_min is not None:
            name = "scheduler_config.json"
            settings = read_json(folder / "scheduler", name) | {"sigma_min": self.sampler_min}
            text = json.dumps(settings, indent=2)
            (folder / "scheduler" / name).write_text(f"{text}\n", encoding="utf-8")

    @property
    def blocks(self) -> list[nn.Module]:
        """Residual blocks, attention and resampling; actions enter at the stages around them."""
        network: Any = self.network
        stages = (*network.down_blocks, network.mid_block, *network.up_blocks)
        lists = (part for stage in stages for part in stage.children())
        return [block for part in lists if isinstance(part, nn.ModuleList) for block in part]

    @property
    def embedding_dim(self) -> int:
        return int(self._widths[0]) * 4

    @property
    def fps(self) -> int:
        return self._fps

    @property
    def _widths(self) -> tuple[int, ...]:
        config: Any = self.network.config
        return tuple(config.block_out_channels)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w); refuses frames that VAE and UNet cannot halve evenly."""
        in_vae = 2 ** (len(self.vae.config.block_out_channels) - 1)
        factor = in_vae * 2 ** (len(self._widths) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"Expected frames whose height and width are multiples of {factor}, got "
                f"{height}x{width}: set the window's height and width."
            )
        return int(self.vae.config.latent_channels), height // in_vae, width // in_vae

    def condition(
        self,
        context: Tensor,
        noise_strength: Tensor,
        generator: Generator = None,
        known: Tensor | None = None,
        text: Sequence[str] = ("",),
        num_frames: int = 0,
        codec: Codec | None = None,
    ) -> Condition:
        if context.shape[1] != 1:
            raise ValueError(f"SVD takes one context frame, got {context.shape[1]}: set context 1.")
        codec, image, count = codec or self.codec, context[:, 0], len(noise_strength)
        self.latent_shape(*image.shape[-2:])
        if known is None:
            latents = self._context(codec, image, noise_strength, generator)
        else:
            latents = known / self.vae.config.scaling_factor
        ids = torch.tensor([self.fps - 1, self.motion_bucket], device=image.device).float()
        ids = torch.cat([ids.expand(count, 2), noise_strength.to(image)[:, None]], 1)
        trained = next(self.image_encoder.parameters()).requires_grad
        embedding = (codec.fresh if trained else codec).embed_image(image)
        return Condition(embedding.expand(count, -1, -1), latents, ids)

    def _context(
        self, codec: Codec, image: Tensor, noise_strength: Tensor, generator: Generator
    ) -> Tensor:
        """Unscaled latents (B, c, h, w) of the context."""
        count = len(noise_strength)
        noise = randn((count, *image.shape[1:]), generator, image.device)
        if not noise_strength.any():
            (latents,) = codec.context(image[:, None], 1)
            return latents[:, 0].expand(count, -1, -1, -1)
        noisy = image + noise_strength.to(image)[:, None, None, None] * noise
        return codec.fresh.latents(noisy[:, None])[:, 0]

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        num_frames = noisy.shape[1]
        context = condition.latents[:, None].expand(-1, num_frames, -1, -1, -1)
        changes = self.predicts == "changes"
        start = context.float() * self.vae.config.scaling_factor if changes else 0.0
        noisy = noisy.float() - start
        scaled = self.process.scale_input(noisy, sigma)
        output = self.network(
            torch.cat([scaled.to(context.dtype), context], 2),
            self.process.time(sigma),
            encoder_hidden_states=condition.image,
            added_time_ids=condition.ids.to(context.dtype),
            return_dict=False,
        )[0]
        return start + self.process.denoised(output.float(), noisy, sigma)

    def training_noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        normal = torch.randn(count, generator=generator)
        if self.noise_mean is None:
            return torch.zeros(count)
        return (self.noise_mean + self.noise_std * normal).exp()
