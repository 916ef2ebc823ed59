"""Stable Video Diffusion: conditioning exactly as diffusers' `StableVideoDiffusionPipeline`.

- Context latent: `mode()` of the VAE on the noise-augmented image, *without* scaling factor;
  target latents with it.
- CLIP sees the clean image, resized to 224x224 as the pipeline does for a PIL picture.
- Added ids: fps - 1, motion bucket, the raw noise strength.
- The generator draws the augmentation noise first, then the latent noise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from egowm.backbones.base import Backbone, Condition, Start, check_vae_batch, locate
from egowm.backbones.memo import Memo
from egowm.clip import Known
from egowm.conditioning.injection import takes_actions
from egowm.diffusion import EDM, Generator, randn
from egowm.loading import (
    CONFIG,
    load_model,
    load_processor,
    load_scheduler,
    read_json,
    untrained,
)

Part = Literal["unet", "image_encoder"]
DECODED_PIXELS = {"cpu": 2**14, "gpu": 2**24}  # at once; a video of SVD XT has 2**23.8


def load_vae(folder: Path) -> Any:
    """SVD's VAE: `AutoencoderKLTemporalDecoder`, or `AutoencoderKL` (SVD's image decoder)."""
    import diffusers

    name = read_json(folder, CONFIG).get("_class_name")
    if name not in ("AutoencoderKLTemporalDecoder", "AutoencoderKL"):
        raise ValueError(
            f"{folder}: expected AutoencoderKLTemporalDecoder or AutoencoderKL, got {name}."
        )
    return load_model(getattr(diffusers, name), folder)


def enter(network: Any, embedding: Tensor) -> list[RemovableHandle]:
    """SVD: each stage receives `temb` (B*T, D); `time_embedding` itself is repeated after it."""
    flat = embedding.flatten(0, 1)

    def add(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        temb = kwargs["temb"]
        if temb.shape != flat.shape:
            raise ValueError(
                f"The embedding {tuple(embedding.shape)} does not fit the network's call: expected "
                f"B*t = {temb.shape[0]} vectors of width {temb.shape[1]}."
            )
        return args, kwargs | {"temb": temb + flat.to(temb.dtype)}

    stages: list[Any] = [*network.down_blocks, network.mid_block, *network.up_blocks]
    return [stage.register_forward_pre_hook(add, with_kwargs=True) for stage in stages]


class SVD(Backbone):
    """The SVD family from a diffusers folder or hub id, loaded component by component.

    pretrained, revision, download: see `locate`. vae_folder: a folder whose VAE replaces the
    pipeline's. random: parts that start from random weights of the folder's configuration ("unet"
    for a run from scratch). start: sets the random UNet's weights, as
    `egowm.pretraining.starts.copy_of_context` does. process_mean, process_std: of ln sigma in
    training. fps, motion_bucket: what the network is told.
    noise_strength: noise added to the context at sampling. noise_mean,
    noise_std: of its logarithm in training; a noise_mean of null adds none.
    memo_frames: remember the latents of up to that many frames in memory, and as many embeddings by
    a frozen image encoder (both are deterministic, so a data set that fits is encoded once; the
    latents of a context with fresh noise are not, and are encoded every time). vae_batch: frames
    that the VAE encodes at once, and decodes in whole videos; 0 is all, and what suits the device.
    """

    temporal_stride = 1
    frame_wise = True
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
    ) -> None:
        super().__init__()
        self.pretrained, self.revision, self.download = pretrained, revision, download
        self.vae_folder, self.random, self.start = vae_folder, tuple(random), start
        self.process_mean, self.process_std = process_mean, process_std
        self._fps, self.motion_bucket = fps, motion_bucket
        self.noise_strength, self.noise_mean, self.noise_std = noise_strength, noise_mean, noise_std
        self.memo_frames, self.vae_batch = memo_frames, check_vae_batch(vae_batch)
        self._latents, self._embeddings = Memo(memo_frames), Memo(memo_frames)

    def load(self) -> None:
        """Load VAE, image encoder, UNet and scheduler in float32 (idempotent)."""
        if hasattr(self, "network"):
            return
        from diffusers import UNetSpatioTemporalConditionModel
        from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # a bar for every small file

        self.folder = folder = locate(self.pretrained, self.revision, self.download)
        self.vae = load_vae(Path(self.vae_folder or folder / "vae"))
        self.image_encoder = self._part("image_encoder", CLIPVisionModelWithProjection)
        self.network = takes_actions(self._part("unet", UNetSpatioTemporalConditionModel), enter)
        if "unet" in self.random and self.start is not None:
            self.start(self.network, self.vae)
        scheduler = load_scheduler(folder, "EulerDiscreteScheduler")
        self.process = EDM(
            self.process_mean,
            self.process_std,
            scheduler.config.sigma_min,
            scheduler.config.sigma_max,
        )
        self.processor = load_processor(CLIPImageProcessor, folder / "feature_extractor")
        self.vae.requires_grad_(False).eval()
        self.image_encoder.requires_grad_(False).eval()

    def _part(self, name: Part, cls: Any) -> Any:
        """Pretrained, or with random weights where it is to start so."""
        return (untrained if name in self.random else load_model)(cls, self.folder / name)

    @property
    def decodes_in_time(self) -> bool:
        """Whether the VAE's decoder mixes frames (SVD's own), or is an image decoder."""
        return type(self.vae).__name__ == "AutoencoderKLTemporalDecoder"

    @property
    def parts(self) -> dict[str, Any]:
        return {"vae": self.vae, "unet": self.network, "image_encoder": self.image_encoder}

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

    def encode(self, frames: Tensor) -> Tensor:
        scale = self.vae.config.scaling_factor
        flat, known = frames.flatten(0, 1).to(self.vae.dtype), self.known
        last = None if known is None else known.latents[:, -frames.shape[1] :].flatten(0, 1)
        latents = self._latents(flat, self._encode, last)
        return latents.unflatten(0, frames.shape[:2]) * scale

    def _encode(self, frames: Tensor) -> Tensor:
        """Unscaled latents (N, c, h, w) of frames (N, 3, H, W)."""
        parts = frames.split(self.vae_batch or len(frames))
        return torch.cat([self.vae.encode(part).latent_dist.mode() for part in parts])

    @property
    def encoders(self) -> dict[str, Path]:
        found = {"vae": Path(self.vae_folder or self.folder / "vae")}
        trained = next(self.image_encoder.parameters()).requires_grad
        if not trained and "image_encoder" not in self.random:
            found["image_encoder"] = self.folder / "image_encoder"
        return found

    @property
    def needs_pixels(self) -> bool:
        """For fresh noise on them, or for an image encoder that is not the pipeline's."""
        return self.noise_mean is not None or "image_encoder" not in self.encoders

    def survey(self, frames: Tensor) -> Known:
        flat = frames[:, 0]
        latents = self._encode(flat.to(self.vae.dtype))
        if "image_encoder" not in self.encoders:
            return Known(latents[:, None])
        return Known(latents[:, None], image=self.embed_image(flat))

    def decode(self, latents: Tensor) -> Tensor:
        """Whole videos, never parts of one: SVD's temporal decoder mixes frames.

        As many videos at once as suit the device: large activations cost memory everywhere, and
        on a CPU also up to half the speed.
        """
        num_frames, _, height, width = latents.shape[1:]
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        pixels = num_frames * height * width * factor**2
        budget = DECODED_PIXELS["cpu" if latents.device.type == "cpu" else "gpu"]
        videos = self.vae_batch // num_frames if self.vae_batch else budget // pixels
        options = {"num_frames": num_frames} if self.decodes_in_time else {}
        frames = []
        for part in latents.split(max(1, videos)):
            flat = part.flatten(0, 1).to(self.vae.dtype) / self.vae.config.scaling_factor
            frames.append(self.vae.decode(flat, **options).sample.float())
        return torch.cat(frames).unflatten(0, latents.shape[:2])

    def decode_frame(self, latents: Tensor, index: int, window: int | None = None) -> Tensor:
        """An image decoder sees one frame; SVD's own, which mixes frames, the whole video, or the
        `window` latent frames around it: all of them are exact, fewer are cheaper
        (`benchmarks/planning/decode_window.py` measures by how much, and the error)."""
        if not self.decodes_in_time:
            return self.decode(latents[:, index : index + 1])
        if window is None:
            return super().decode_frame(latents, index)
        length = latents.shape[1]
        start = min(max(0, index - window // 2), max(0, length - window))
        return self.decode(latents[:, start : start + window])[:, index - start, None]

    def condition(
        self,
        context: Tensor,
        noise_strength: Tensor,
        generator: Generator = None,
        known: Tensor | None = None,
        text: Sequence[str] = ("",),
        num_frames: int = 0,
    ) -> Condition:
        if context.shape[1] != 1:
            raise ValueError(f"SVD takes one context frame, got {context.shape[1]}: set context 1.")
        image, count = context[:, 0], len(noise_strength)
        self.latent_shape(*image.shape[-2:])
        latents = self._context(image, noise_strength, generator, known)
        ids = torch.tensor([self.fps - 1, self.motion_bucket], device=image.device).float()
        ids = torch.cat([ids.expand(count, 2), noise_strength.to(image)[:, None]], 1)
        if next(self.image_encoder.parameters()).requires_grad:
            embedding = self.embed_image(image)
        else:
            known_image = None if self.known is None else self.known.image
            embedding = self._embeddings(image, self.embed_image, known_image)
        return Condition(embedding.expand(count, -1, -1), latents, ids)

    def _context(
        self,
        image: Tensor,
        noise_strength: Tensor,
        generator: Generator,
        known: Tensor | None,
    ) -> Tensor:
        """Unscaled latents (B, c, h, w) of the context."""
        if known is not None:
            return known / self.vae.config.scaling_factor
        count = len(noise_strength)
        noise = randn((count, *image.shape[1:]), generator, image.device)
        if not noise_strength.any():
            first = None if self.known is None else self.known.latents[:, 0]
            latents = self._latents(image, self._encode, first)
            return latents.expand(count, -1, -1, -1)
        noisy = image + noise_strength.to(image)[:, None, None, None] * noise
        return self._encode(noisy.to(self.vae.dtype))

    def embed_image(self, image: Tensor) -> Tensor:
        """CLIP's embedding of clean images (B, 3, H, W) in [-1, 1]: (B, 1, D)."""
        from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
            _resize_with_antialiasing,
        )

        pixels = (_resize_with_antialiasing(image.float(), (224, 224)) + 1) / 2
        mean = torch.tensor(self.processor.image_mean, device=image.device)[:, None, None]
        std = torch.tensor(self.processor.image_std, device=image.device)[:, None, None]
        pixels = ((pixels - mean) / std).to(self.image_encoder.dtype)
        embeds: Tensor = self.image_encoder(pixels).image_embeds
        return embeds.unsqueeze(1)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        num_frames = noisy.shape[1]
        context = condition.latents[:, None].expand(-1, num_frames, -1, -1, -1)
        scaled = self.process.scale_input(noisy, sigma)
        output = self.network(
            torch.cat([scaled.to(context.dtype), context], 2),
            self.process.time(sigma),
            encoder_hidden_states=condition.image,
            added_time_ids=condition.ids.to(context.dtype),
            return_dict=False,
        )[0]
        return self.process.denoised(output.float(), noisy.float(), sigma)

    def training_noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        normal = torch.randn(count, generator=generator)
        if self.noise_mean is None:
            return torch.zeros(count)
        return (self.noise_mean + self.noise_std * normal).exp()
