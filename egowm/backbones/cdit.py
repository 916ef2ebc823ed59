"""NWM's conditional diffusion transformer (CDiT, arXiv 2412.03572), the baseline of EgoWM.

It has no pretrained video pipeline: the network starts from random weights beside an image VAE. It
makes one target frame from K context frames, and each frame of a chunk by itself: frame j is told
that it lies j + 1 frames ahead, and the sum of the embedded actions up to it. So a chunk of one is
NWM's rollout, frame after frame; a longer one jumps there from the same context.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from egowm.backbones.base import Backbone, Condition, locate, not_negative
from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Remembered
from egowm.backbones.frame_codec import FrameCodec, load_vae
from egowm.backbones.schedulers import StockLevels, Supported, load_scheduler, tried
from egowm.checks import counted
from egowm.conditioning.injection import enter_tokens, inject, takes_actions
from egowm.ddpm import DDPM
from egowm.diffusion import Generator
from egowm.loading import INDEX, load_model

SCHEDULERS: Supported = {
    "DDPMScheduler": {
        "prediction_type": ("epsilon",),
        "variance_type": ("learned_range",),
        "timestep_spacing": ("linspace",),  # from the highest step to step 0
        "steps_offset": (0,),
        "rescale_betas_zero_snr": (False,),
        "clip_sample": (False,),
        "thresholding": (False,),
    },
}
PAPER = {  # of the scheduler
    "beta_schedule": "linear",
    "variance_type": "learned_range",
    "timestep_spacing": "linspace",
    "clip_sample": False,
}
SIZES = {  # blocks, width, heads; XS is ours, for the rooms on a CPU
    "XS": (7, 168, 6),
    "S": (12, 384, 6),
    "B": (12, 768, 12),
    "L": (24, 1024, 16),
    "XL": (28, 1152, 16),
}
Size = Literal["", "XS", "S", "B", "L", "XL"]


def enter(network: Any, embedding: Tensor) -> list[Any]:
    """CDiT: the embedding of the time of each target frame."""
    return enter_tokens(network.time_embed, embedding)


@dataclass
class _Levels:
    """A DDPM scheduler with noise levels as other schedulers have them."""

    scheduler: Any

    @property
    def every(self) -> Tensor:
        """Those of all training steps, rising."""
        known: Tensor = self.scheduler.alphas_cumprod
        return ((1 - known) / known).sqrt()

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.scheduler.set_timesteps(num_inference_steps)
        one = num_inference_steps == 1  # evenly spaced, that would be step 0, without noise
        levels = self.every[-1:] if one else self.every[self.scheduler.timesteps]
        self.sigmas = torch.cat([levels, levels.new_zeros(1)])


class CDiT(Backbone):
    """A conditional diffusion transformer from scratch, or from a folder in diffusers' format.

    Args:
        pretrained: Pipeline to start from: a folder, or a hub id that is in the local cache. With a
            size, its VAE alone is taken (of any pipeline with an `AutoencoderKL`).
        revision: Commit of a hub id; null takes the one that is cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.
        size: "S", "B", "L" or "XL" of the paper, or the smaller "XS", start the network from
            random weights; "" takes the folder's network and scheduler.
        context: Context frames K, at least 1.
        context_stride: Of these every so many-th is read, back from the last: 13 with a stride of 4
            read 4, as many as 4 with a stride of 1, of a past four times as long. It divides K - 1.
        memo_frames: Number of frames whose latents are kept in main memory, so that a data set that
            fits is encoded once; 0 keeps none.
        vae_batch: Frames that the VAE encodes at once, and decodes in whole videos; 0 encodes all,
            and decodes as many videos as suit the device.

    >>> cdit = CDiT("./priors/rooms-svd", size="XS")  # loads nothing yet
    >>> cdit.load()
    >>> cdit.embedding_dim, cdit.context, len(cdit.blocks)
    (168, 4, 7)
    """

    context_latents = 0  # the context is read, it is no part of the video
    jumps = True
    fps = 4  # of NWM's recordings; the network is told none

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        download: bool = False,
        size: Size = "",
        context: int = 4,
        context_stride: int = 1,
        memo_frames: int = 0,
        vae_batch: int = 0,
    ) -> None:
        super().__init__()
        if context < 1:
            raise ValueError(f"Expected at least 1 context frame, got {context}.")
        if context_stride < 1 or (context - 1) % context_stride:
            raise ValueError(
                f"Expected a context_stride that divides context - 1 = {context - 1}, got "
                f"{context_stride}: frames that are never read cost memory alone."
            )
        not_negative(memo_frames=memo_frames, vae_batch=vae_batch)
        self.pretrained, self.revision, self.download = pretrained, revision, download
        self.size, self.context, self.context_stride = size, context, context_stride
        self.random = ("transformer",) if size else ()
        self.memo_frames, self.vae_batch = memo_frames, vae_batch

    def load(self) -> None:
        """Load VAE, transformer and scheduler in float32 (idempotent)."""
        if hasattr(self, "network"):
            return
        from egowm.network.cdit import CDiTTransformer2DModel

        self.folder = folder = locate(self.pretrained, self.revision, self.download)
        self.process = self._process(folder)
        self.vae = load_vae(folder / "vae", ("AutoencoderKL",))
        channels = int(self.vae.config.latent_channels)
        if self.size:
            network = CDiTTransformer2DModel(channels, 2, *SIZES[self.size])
        else:
            network = load_model(CDiTTransformer2DModel, folder / "transformer")
        if network.config.in_channels != channels:
            raise ValueError(
                f"{folder}: expected a transformer of in_channels {channels}, as the VAE's latents "
                f"have, got {network.config.in_channels}."
            )
        self.network = takes_actions(network, enter)
        folders, family = {"vae": folder / "vae"}, type(self).__name__
        codec = FrameCodec(self.vae, None, None, family, folders, self.vae_batch)
        self.codec = Remembered(codec, self.memo_frames) if self.memo_frames else codec

    def _process(self, folder: Path) -> DDPM:
        from diffusers import DDPMScheduler
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        with unset_fake_temporarily():  # a step may be traced without values
            fresh = DDPMScheduler(**PAPER) if self.size else None
            self.scheduler = fresh or load_scheduler(folder, SCHEDULERS)
            levels = _Levels(self.scheduler)
            schedule = tried(StockLevels(levels, folder / "scheduler"))
            return DDPM(schedule=schedule, levels=tuple(levels.every.tolist()))

    def save_settings(self, folder: Path) -> None:
        """The scheduler, and an index of parts that this class loads."""
        self.scheduler.save_pretrained(folder / "scheduler")
        parts = {**self.parts, "scheduler": self.scheduler}
        index = {name: ["diffusers", type(part).__name__] for name, part in parts.items()}
        index["transformer"][0] = "egowm.network.cdit"
        text = json.dumps({"_class_name": "CDiTPipeline", **index}, indent=2)
        (folder / INDEX).write_text(text + "\n")

    @property
    def parts(self) -> dict[str, Any]:
        return {"vae": self.vae, "transformer": self.network}

    @property
    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        return list(network.blocks)

    @property
    def embedding_dim(self) -> int:
        network: Any = self.network
        return int(network.config.hidden_size)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        network: Any = self.network
        in_vae = 2 ** (len(self.vae.config.block_out_channels) - 1)
        factor = in_vae * network.config.patch_size
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
        if context.shape[1] != self.context:
            expected = counted(self.context, "context frame")
            raise ValueError(f"Expected {expected}, got {context.shape[1]}.")
        self.latent_shape(*context.shape[-2:])
        if known is not None:
            return Condition(latents=known[:, None])
        codec = codec or self.codec
        (latents,) = codec.context(context, num_frames)
        read = codec.scale(latents[:, :: self.context_stride])
        return Condition(latents=read.expand(len(noise_strength), -1, -1, -1, -1))

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """The clean latents, and the spread of a step beside them (B, t, 2c, h, w)."""
        dtype = next(self.network.parameters()).dtype
        scaled = self.process.scale_input(noisy, sigma).to(dtype)
        context, stride = condition.latents.to(dtype), self.context_stride
        output = self.network(scaled, self.process.time(sigma), context, stride)[0]
        return self.process.denoised(output.float(), noisy.float(), sigma)

    def injecting(self, embedding: Tensor) -> AbstractContextManager[nn.Module]:
        """Frame j takes the sum of the embeddings of the actions that lead to it."""
        return inject(self.network, embedding.cumsum(1))
