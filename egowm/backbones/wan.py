"""Wan 2.1 image-to-video and Wan 2.2 TI2V (Alibaba), loaded from diffusers folders part by part.

Read in diffusers' `WanImageToVideoPipeline`:
- Wan 2.1: the latents of [context, grey ...] and a mask of `temporal_stride` channels come by
  channel, CLIP's hidden states before the last layer by cross-attention. The context's latents are
  generated together with the future's; they are cut off, and do not count in the loss.
- Wan 2.2 TI2V (`expand_timesteps`): the context's latents come by time, clean, at time 0.
- UniPC tells the network whole thousandths of the noise level, rounded down.
Here every token has a timestep of its own, (B, t*h*w): there the embedding of an action is added.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from egowm.backbones.base import Condition
from egowm.backbones.causal_codec import CausalCodec
from egowm.backbones.codec import Codec
from egowm.backbones.schedulers import FLOW, StockLevels, load_scheduler, tried
from egowm.backbones.video_transformer import VideoTransformer
from egowm.clip import Encodings
from egowm.conditioning.injection import enter_tokens, takes_actions
from egowm.diffusion import FlowMatching, Generator, WholeTimes
from egowm.loading import (
    INDEX,
    load_model,
    load_processor,
    load_tokenizer,
    read_json,
)
from egowm.pixels import from_model

PIPELINES = ("WanImageToVideoPipeline", "WanPipeline")


def enter(network: Any, embedding: Tensor) -> list[RemovableHandle]:
    """Wan: `condition_embedder` itself is too late, the blocks' modulation is made inside it."""
    return enter_tokens(network.condition_embedder.time_embedder, embedding)


class _Wan21Codec(CausalCodec):
    """Wan 2.1's VAE, which encodes the context with grey frames after it, and CLIP."""

    image_encoder: Any
    processor: Any

    def context(self, frames: Tensor, num_frames: int) -> tuple[Tensor, ...]:
        shape = len(frames), num_frames - frames.shape[1], *frames.shape[2:]
        return (self.latents(torch.cat([frames, frames.new_zeros(shape)], 1)),)

    def embed_image(self, image: Tensor) -> Tensor:
        """CLIP's hidden states before the last layer, of images (B, 3, H, W): (B, tokens, D)."""
        pixels = from_model(image).cpu()
        inputs = self.processor(images=list(pixels), return_tensors="pt").pixel_values
        encoder = self.image_encoder
        states = encoder(inputs.to(image.device, encoder.dtype), output_hidden_states=True)
        embedding: Tensor = states.hidden_states[-2]
        return embedding

    def encode_for_cache(self, frames: Tensor, num_context: int) -> Encodings:
        """`context` holds the latents that the network is conditioned on."""
        given = frames[:, :num_context]
        (whole,) = self.context(given, frames.shape[1])
        return Encodings(self.latents(frames), whole, self.embed_image(given[:, -1]))

    def cached_context(self, encodings: Encodings, num_context: int) -> tuple[Tensor, ...]:
        return (encodings.context,)


class Wan(VideoTransformer):
    """Wan 2.1 image-to-video or Wan 2.2 TI2V, as the pipeline's folder says.

    Sampling is by Euler steps over the stock scheduler's noise levels (the stock sampler is UniPC;
    the first step is the same).

    Args:
        pretrained: Pipeline to start from: a folder, or a hub id that is in the local cache.
        revision: Commit of a hub id; null takes the one that is cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.
        context: Context frames K, one more than a multiple of the VAE's temporal stride. Wan 2.1
            was trained on one; its mask has room for more, and CLIP sees the last.
        fps: Frames per second, for the record; the network is told none.
        random: ["transformer"] starts it from random weights, with the configuration in the folder.
        process_mean: Mean of the logit of the training noise level, before the scheduler's shift.
        process_std: Standard deviation of that logit.
        vae_batch: Videos that the VAE encodes or decodes at once; 0 is all of a batch.

    >>> wan = Wan("Wan-AI/Wan2.2-TI2V-5B-Diffusers", context=5)  # loads nothing yet
    >>> wan.context, wan.fps
    (5, 16)
    """

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        download: bool = False,
        context: int = 1,
        fps: int = 16,
        random: Sequence[Literal["transformer"]] = (),
        process_mean: float = 0.0,
        process_std: float = 1.0,
        vae_batch: int = 0,
    ) -> None:
        super().__init__(pretrained, revision, download, context, fps, random, vae_batch=vae_batch)
        self.process_mean, self.process_std = process_mean, process_std

    def load_parts(self, folder: Path) -> CausalCodec:
        from diffusers import AutoencoderKLWan, WanTransformer3DModel

        index = read_json(folder, INDEX)
        _check_pipeline(folder, index)
        self.by_time = bool(index.get("expand_timesteps"))
        self.process = self._process(folder)
        self.vae = load_model(AutoencoderKLWan, folder / "vae")
        self.network = takes_actions(self.load_network(WanTransformer3DModel, folder), enter)
        config: Any = self.network.config
        if config.pos_embed_seq_len is not None:
            raise ValueError(
                f"{folder}: Wan's first-and-last-frame transformer (pos_embed_seq_len "
                f"{config.pos_embed_seq_len}) needs a last frame, which a world model does not "
                f"have: give an image-to-video folder."
            )
        if self.by_time:
            return self.make_codec(CausalCodec, _embed_umt5, "2.2")
        from transformers import CLIPImageProcessor, CLIPVisionModel

        codec = self.make_codec(_Wan21Codec, _embed_umt5, "2.1")
        self.image_encoder = load_model(CLIPVisionModel, folder / "image_encoder")
        codec.image_encoder = self.image_encoder.requires_grad_(False).eval()
        codec.processor = load_processor(CLIPImageProcessor, folder / "image_processor")
        codec.folders["image_encoder"] = folder / "image_encoder"
        return codec

    def _process(self, folder: Path) -> FlowMatching:
        scheduler = load_scheduler(folder, FLOW)
        config = scheduler.config
        levels = tried(StockLevels(scheduler, folder / "scheduler", ceiling=1))
        kind = FlowMatching if scheduler.timesteps.is_floating_point() else WholeTimes
        return kind(
            levels,
            shift=config.get("flow_shift", config.get("shift", 1.0)),
            time_scale=config.num_train_timesteps,
            mean=self.process_mean,
            std=self.process_std,
        )

    @property
    def spatial_stride(self) -> int:
        return super().spatial_stride * int(self.vae.config.patch_size or 1)

    @property
    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        return list(network.blocks)

    @property
    def embedding_dim(self) -> int:
        config: Any = self.network.config
        return int(config.num_attention_heads * config.attention_head_dim)

    @property
    def chains_latents(self) -> bool:
        """Not by channel, where the context's latents are those of a whole, mostly grey video."""
        return self.by_time and super().chains_latents

    def completed(
        self, condition: Condition, codec: Codec, context: Tensor, generator: Generator
    ) -> Condition:
        """Wan 2.1: with CLIP's embedding of the last context frame."""
        if self.by_time:
            return condition
        image = codec.embed_image(context[:, -1])
        return condition._replace(image=image.expand(len(condition.latents), -1, -1))

    def encode_context(
        self, codec: Codec, context: Tensor, count: int, generator: Generator, num_frames: int
    ) -> Tensor:
        """TI2V: the context's latents. Wan 2.1: those of [context, grey ...], a whole video's."""
        if not self.by_time and num_frames <= self.context:
            raise ValueError(
                f"Wan 2.1 conditions a whole video: expected num_frames above {self.context}, got "
                f"{num_frames}: pass num_frames = K + T."
            )
        return super().encode_context(codec, context, count, generator, num_frames)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        count, num_latents, _, height, width = noisy.shape
        if self.by_time:
            seen, image = self.with_context(noisy, condition), None
            time = self.times(sigma, num_latents, 0.0)
        else:
            mask = noisy.new_zeros(count, num_latents, self.codec.temporal_stride, height, width)
            mask[:, : self.context_latents] = 1
            seen = torch.cat([noisy, mask, condition.latents.to(noisy)], 2)
            image = condition.image.to(self.dtype)
            time = self.process.time(sigma)[:, None].expand(-1, num_latents)
        tokens = (height // self.patch) * (width // self.patch)
        output = self.network(
            hidden_states=seen.transpose(1, 2).to(self.dtype),
            timestep=time.repeat_interleave(tokens, 1),
            encoder_hidden_states=condition.text.to(self.dtype),
            encoder_hidden_states_image=image,
            return_dict=False,
        )[0]
        clean = self.process.denoised(output.transpose(1, 2).float(), noisy.float(), sigma)
        return self.with_context(clean, condition) if self.by_time else clean


def _check_pipeline(folder: Path, index: dict[str, Any]) -> None:
    """Refuse Wan pipelines that are not one image-to-video transformer, saying why."""
    name, parts = index.get("_class_name"), {k for k, v in index.items() if v and v != [None, None]}
    if name not in PIPELINES:
        raise ValueError(f"{folder}: expected a pipeline of {', '.join(PIPELINES)}, got {name}.")
    if "transformer_2" in parts or index.get("boundary_ratio") is not None:
        raise ValueError(
            f"{folder}: {name} with two transformers (Wan 2.2 A14B, boundary_ratio "
            f"{index.get('boundary_ratio')}) is not supported: one embedding of actions cannot "
            f"train two networks at once. Give Wan 2.1 image-to-video or Wan 2.2 TI2V."
        )
    if "expand_timesteps" in parts:
        return
    if name == "WanPipeline" or "image_encoder" not in parts:
        raise ValueError(
            f"{folder}: {name} without expand_timesteps and without an image encoder makes videos "
            f"of text alone, it has no place for context frames. Give Wan 2.1 image-to-video or "
            f"Wan 2.2 TI2V."
        )


def _embed_umt5(folder: Path, texts: list[str]) -> tuple[Tensor, Tensor]:
    """As Wan's pipelines embed texts: 512 tokens, zeros after the last."""
    from diffusers.pipelines.wan import pipeline_wan_i2v
    from transformers import UMT5EncoderModel

    if not hasattr(pipeline_wan_i2v, "ftfy"):
        raise ImportError("Wan's pipeline cleans texts with ftfy, which is missing: install ftfy.")
    parts = SimpleNamespace(
        tokenizer=load_tokenizer(folder / "tokenizer"),
        text_encoder=load_model(UMT5EncoderModel, folder / "text_encoder", "auto").eval(),
        _execution_device=torch.device("cpu"),
    )
    pipeline = pipeline_wan_i2v.WanImageToVideoPipeline
    embeddings = pipeline._get_t5_prompt_embeds(parts, texts)
    return embeddings, torch.ones(embeddings.shape[:2])
