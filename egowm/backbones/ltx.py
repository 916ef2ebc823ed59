"""LTX-Video (Lightricks), loaded from a diffusers folder part by part.

Read in diffusers' `LTXImageToVideoPipeline`: latents are packed into tokens, each with a timestep,
0 for the context's; the network is told frames per second through its rotary positions; texts come
with an attention mask; the context is a draw from the VAE's posterior; the scheduler shifts its
noise levels by the number of tokens.
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
from egowm.backbones.schedulers import StockLevels, Supported, load_scheduler, tried
from egowm.backbones.video_transformer import VideoTransformer
from egowm.conditioning.injection import enter_tokens, takes_actions
from egowm.diffusion import FlowMatching
from egowm.loading import INDEX, load_model, load_tokenizer, read_json
from egowm.readable import undamaged

SCHEDULERS: Supported = {  # its pipeline says how far to shift
    "FlowMatchEulerDiscreteScheduler": {"invert_sigmas": (False,), "stochastic_sampling": (False,)}
}
PIPELINES = ("LTXImageToVideoPipeline", "LTXPipeline")  # of the same parts


def enter(network: Any, embedding: Tensor) -> list[RemovableHandle]:
    """LTX: inside `time_embed`, before the blocks' modulation is made."""
    return enter_tokens(network.time_embed.emb, embedding)


class _LTXCodec(CausalCodec):
    """LTX's VAE, whose decoder may be conditioned on a time."""

    decode_timestep = 0.0

    def decode(self, latents: Tensor) -> Tensor:
        if not self.vae.config.timestep_conditioning:
            return super().decode(latents)
        z = self.unscale(latents)
        time = torch.full((len(z),), self.decode_timestep, device=z.device, dtype=z.dtype)
        devices = [z.device] if z.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # such decoders may inject noise of their own
            torch.manual_seed(0)
            frames: Tensor = self.vae.decode(z, time).sample
        return frames.transpose(1, 2).float()


class LTX(VideoTransformer):
    """LTX-Video up to 0.9.1, loaded from a local folder.

    LTX 0.9.5 and later (`LTXConditionPipeline`) count positions otherwise and are refused.

    Args:
        pretrained: Pipeline to start from: a folder, or a hub id that is in the local cache.
        revision: Commit of a hub id; null takes the one that is cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.
        context: Context frames K, one more than a multiple of the VAE's temporal stride.
        fps: Frames per second that the network is told.
        random: ["transformer"] starts it from random weights, with the configuration in the folder.
        decode_timestep: Time that a decoder with timestep conditioning is told, in [0, 1]; no noise
            is added to the latents there (the stock pipeline may add some).
        process_mean: Mean of the logit of the training noise level, before the scheduler's shift.
        process_std: Standard deviation of that logit.
        vae_batch: Videos that the VAE encodes or decodes at once; 0 is all of a batch.

    >>> ltx = LTX("Lightricks/LTX-Video", context=9)  # loads nothing yet
    >>> ltx.context, ltx.fps
    (9, 25)
    """

    draws_whole_video = False

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        download: bool = False,
        context: int = 1,
        fps: int = 25,
        random: Sequence[Literal["transformer"]] = (),
        decode_timestep: float = 0.0,
        process_mean: float = 0.0,
        process_std: float = 1.0,
        vae_batch: int = 0,
    ) -> None:
        super().__init__(pretrained, revision, download, context, fps, random, vae_batch=vae_batch)
        self.decode_timestep = decode_timestep
        self.process_mean, self.process_std = process_mean, process_std

    def load_parts(self, folder: Path) -> CausalCodec:
        import diffusers

        name = read_json(folder, INDEX).get("_class_name")
        if name not in PIPELINES:
            raise ValueError(
                f"{folder}: expected a pipeline of {', '.join(PIPELINES)}, got {name}."
            )
        self.scheduler = load_scheduler(folder, SCHEDULERS)
        self.process = self._process(int(self.scheduler.config.get("base_image_seq_len", 256)))
        tried(self.process.sigmas)
        self.vae = load_model(diffusers.AutoencoderKLLTXVideo, folder / "vae")
        network = self.load_network(diffusers.LTXVideoTransformer3DModel, folder)
        self.network = takes_actions(network, enter)
        config: Any = self.network.config
        if config.patch_size_t != 1:
            raise ValueError(
                f"{folder}: expected a transformer with one latent frame per token (patch_size_t "
                f"1), got {config.patch_size_t}: an action would have no tokens of its own."
            )
        codec = self.make_codec(_LTXCodec, _embed_t5, samples_context=True)
        codec.decode_timestep = self.decode_timestep
        return codec

    def statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = (x.reshape(1, -1, 1, 1) for x in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std / self.vae.config.scaling_factor

    @property
    def spatial_stride(self) -> int:
        return int(self.vae.spatial_compression_ratio)

    @property
    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        return list(network.transformer_blocks)

    @property
    def embedding_dim(self) -> int:
        config: Any = self.network.config
        return int(config.num_attention_heads * config.attention_head_dim)

    def process_for(self, num_latents: int, size: tuple[int, int]) -> FlowMatching:
        _, height, width = self.latent_shape(*size)
        return self._process(num_latents * height * width)

    def _process(self, tokens: int) -> FlowMatching:
        """Flow matching whose noise levels are shifted for a video of so many latents."""
        from diffusers.pipelines.ltx.pipeline_ltx_image2video import calculate_shift

        config = self.scheduler.config
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        given = [config.get(k, v) for k, v in zip(names, (256, 4096, 0.5, 1.15), strict=True)]
        place = self.folder / "scheduler"
        with undamaged(place):
            mu = float(calculate_shift(tokens, *given))
        shift = config.shift
        if config.use_dynamic_shifting:
            linear = config.time_shift_type == "linear"
            shift = mu if linear else float(torch.tensor(mu).exp())

        def ask(steps: int) -> dict[str, Any]:
            return {
                "sigmas": torch.linspace(1, 1 / steps, steps, dtype=torch.float64).numpy(),
                "mu": mu,
            }

        stock = StockLevels(self.scheduler, place, ask, ceiling=1)

        def levels(steps: int) -> Tensor:
            # The stock scheduler's stretch divides by zero in a single step.
            return torch.tensor([1.0, 0.0]) if steps == 1 else stock(steps)

        scale = config.num_train_timesteps
        return FlowMatching(levels, shift, scale, self.process_mean, self.process_std)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        num_latents, (height, width) = noisy.shape[1], noisy.shape[-2:]
        rows, columns = height // self.patch, width // self.patch
        time = self.times(sigma, num_latents, 0.0)
        output = self.network(
            hidden_states=_pack(self.with_context(noisy, condition), self.patch).to(self.dtype),
            encoder_hidden_states=condition.text.to(self.dtype),
            timestep=time.repeat_interleave(rows * columns, 1),
            encoder_attention_mask=condition.text_mask,
            num_frames=num_latents,
            height=rows,
            width=columns,
            rope_interpolation_scale=(
                self.codec.temporal_stride / self.fps,
                self.spatial_stride,
                self.spatial_stride,
            ),
            return_dict=False,
        )[0]
        velocity = _unpack(output.float(), num_latents, rows, self.patch)
        return self.with_context(self.process.denoised(velocity, noisy.float(), sigma), condition)


def _pack(latents: Tensor, patch: int) -> Tensor:
    """Latents (B, t, c, h, w) to tokens (B, t * h/p * w/p, c * p * p), frame-major."""
    cells = latents.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # B t c h p w p
    return cells.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)


def _unpack(tokens: Tensor, num_latents: int, rows: int, patch: int) -> Tensor:
    """What `_pack` packed."""
    cells = tokens.unflatten(2, (-1, patch, patch)).unflatten(1, (num_latents, rows, -1))
    return cells.permute(0, 1, 4, 2, 5, 3, 6).flatten(5).flatten(3, 4)


def _embed_t5(folder: Path, texts: list[str]) -> tuple[Tensor, Tensor]:
    """As LTX's pipelines embed texts: 128 tokens and a mask of those that count."""
    from diffusers import LTXImageToVideoPipeline
    from transformers import T5EncoderModel

    parts = SimpleNamespace(
        tokenizer=load_tokenizer(folder / "tokenizer"),
        text_encoder=load_model(T5EncoderModel, folder / "text_encoder", "auto").eval(),
        _execution_device=torch.device("cpu"),
    )
    embeddings, mask = LTXImageToVideoPipeline._get_t5_prompt_embeds(parts, texts)
    return embeddings, mask
