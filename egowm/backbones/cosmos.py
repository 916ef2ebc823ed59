"""Cosmos Predict1, Predict2 and Predict2.5 (NVIDIA), loaded from diffusers folders part by part.

Their pipelines cannot be constructed without NVIDIA's guardrail package, which checks texts and
videos; egowm loads the parts and runs no guardrail (see docs/backbones.md on the licence).
Read in diffusers: Predict1 is EDM with sigma_data 0.5 and a slightly noised context; Predict2 is
rectified flow written in EDM's sigma, its context a draw from the VAE's posterior; Predict2.5 is
flow matching. The condition mask marks the context's latent frames.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from egowm.backbones.base import Condition, Start
from egowm.backbones.causal_codec import CausalCodec
from egowm.backbones.codec import Codec
from egowm.backbones.schedulers import FLOW, StockLevels, Supported, load_scheduler, tried
from egowm.backbones.video_transformer import VideoTransformer
from egowm.checks import counted
from egowm.conditioning.injection import takes_actions
from egowm.diffusion import EDM, EDMFlow, FlowMatching, Generator, randn
from egowm.loading import INDEX, load_model, load_tokenizer, read_json

GENERATIONS = {  # model_index.json's class
    "CosmosVideoToWorldPipeline": "predict1",
    "Cosmos2VideoToWorldPipeline": "predict2",
    "Cosmos2_5_PredictBasePipeline": "predict2.5",
}
CONTEXT_TIME = {"predict2": 1e-4 / (1 + 1e-4), "predict2.5": 1e-4}  # what the context is told


SCHEDULERS: dict[str, Supported] = {
    "predict1": {"EDMEulerScheduler": {"prediction_type": ("epsilon", "v_prediction")}},
    "predict2": {  # its pipeline asks for Karras' levels, whatever else the settings say
        "FlowMatchEulerDiscreteScheduler": {
            **FLOW["FlowMatchEulerDiscreteScheduler"],
            "use_karras_sigmas": (True,),
        }
    },
    "predict2.5": FLOW,
}


def enter(network: Any, embedding: Tensor) -> list[RemovableHandle]:
    """Cosmos: `time_embed` returns the timestep vector (B*t, 3C) and the normed embedding (B*t, C)
    that every block modulates by. Width C enters the second, width 4C both."""
    flat = embedding.flatten(0, 1)

    def add(module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        vector, embedded = output
        narrow, wide = embedded.shape[-1], embedded.shape[-1] + vector.shape[-1]
        if len(flat) != len(embedded) or flat.shape[-1] not in (narrow, wide):
            raise ValueError(
                f"The embedding {tuple(embedding.shape)} does not fit the network's call: expected "
                f"B*t = {counted(len(embedded), 'vector')} of width {narrow} or {wide}, and a "
                f"timestep for each latent frame (B, 1, t, 1, 1)."
            )
        embedded = embedded + flat[:, :narrow].to(embedded.dtype)
        if flat.shape[-1] == wide:
            vector = vector + flat[:, narrow:].to(vector.dtype)
        return vector, embedded

    return [network.time_embed.register_forward_hook(add)]


class Cosmos(VideoTransformer):
    """Cosmos Predict1, Predict2 Video2World or Predict2.5, as the pipeline's folder says.

    Sampling is by Euler steps over the stock scheduler's noise levels (Predict2.5's own is UniPC).

    Args:
        pretrained: Pipeline to start from: a folder, or a hub id that is in the local cache.
        revision: Commit of a hub id; null takes the one that is cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.
        context: Context frames K, one more than a multiple of the VAE's temporal stride.
        fps: Frames per second that the network is told (Predict2.5 is told none).
        random: ["transformer"] starts it from random weights, with the configuration in the folder.
        vae_folder: Folder whose VAE replaces that of the pipeline; "" keeps the pipeline's.
        memo_frames: Number of videos, and of contexts, whose latents are kept in main memory, so
            that a data set that fits is encoded once; 0 keeps none.
        streams: Place where an embedding enters the adaptive layer norms. "embedded": the normed
            timestep embedding that modulates each block (width C); "both": also the full-rank
            timestep vector (3C more).
        context_noise: Standard deviation of the noise on Predict1's context latents at sampling.
        process_mean: Mean of the logit of the noise level in training (Predict1: of ln sigma).
        process_std: Standard deviation of that logit (Predict1: of ln sigma).
        vae_batch: Videos that the VAE encodes or decodes at once; 0 is all of a batch.
        start: Function of network and VAE that sets the weights of a random transformer, such as
            `egowm.pretraining.starts.copy_of_context`; null leaves them random.

    >>> cosmos = Cosmos("./priors/rooms-cosmos")  # loads nothing yet
    >>> cosmos.load()
    >>> cosmos.latent_shape(64, 64), cosmos.codec.num_latents(9)
    ((16, 16, 16), 9)
    """

    def __init__(
        self,
        pretrained: str,
        revision: str | None = None,
        download: bool = False,
        context: int = 1,
        fps: int = 16,
        random: Sequence[Literal["transformer"]] = (),
        vae_folder: str = "",
        memo_frames: int = 0,
        streams: Literal["embedded", "both"] = "embedded",
        context_noise: float = 0.001,
        process_mean: float = 0.0,
        process_std: float = 1.0,
        vae_batch: int = 0,
        start: Start | None = None,
    ) -> None:
        super().__init__(
            pretrained, revision, download, context, fps, random, vae_folder, memo_frames, vae_batch
        )
        self.streams, self.context_noise = streams, context_noise
        self.process_mean, self.process_std = process_mean, process_std
        self.start = start

    def load_parts(self, folder: Path) -> CausalCodec:
        import diffusers

        name = read_json(folder, INDEX).get("_class_name")
        if name not in GENERATIONS:
            raise ValueError(
                f"{folder}: expected a pipeline of {', '.join(GENERATIONS)}, got {name}."
            )
        self.generation = GENERATIONS[name]
        self.process = self._process(folder)
        first = self.generation == "predict1"
        vae = diffusers.AutoencoderKLCosmos if first else diffusers.AutoencoderKLWan
        self.vae = load_model(vae, Path(self.vae_folder or folder / "vae"))
        network = self.load_network(diffusers.CosmosTransformer3DModel, folder)
        self.network = takes_actions(network, enter)
        if self.random and self.start is not None:
            self.start(self.network, self.vae)
        embed = _embed_qwen if self.generation == "predict2.5" else _embed_t5
        samples_context = self.generation == "predict2"  # Predict1's VAE has no spread
        return self.make_codec(CausalCodec, embed, self.generation, samples_context)

    def _process(self, folder: Path) -> Any:
        draw: dict[str, Any] = {"mean": self.process_mean, "std": self.process_std}
        scheduler = load_scheduler(folder, SCHEDULERS[self.generation])
        place = folder / "scheduler"
        if self.generation == "predict2.5":
            return FlowMatching(tried(StockLevels(scheduler, place, ceiling=1)), **draw)
        if self.generation == "predict2":
            scheduler.register_to_config(sigma_max=80.0, sigma_min=0.002, sigma_data=1.0)
            levels = StockLevels(scheduler, place, _evenly, holds_last=True)
            return EDMFlow(schedule=tried(levels), **draw)
        sign = -1.0 if scheduler.config.prediction_type == "v_prediction" else 1.0
        return EDM(
            sigma_data=scheduler.config.sigma_data,
            out_sign=sign,
            schedule=tried(StockLevels(scheduler, place)),
            starts_as_noise=True,
            **draw,
        )

    def statistics(self) -> tuple[Tensor, Tensor]:
        if self.generation != "predict1":
            return super().statistics()
        config, scale = self.vae.config, self.process.sigma_data  # type: ignore[attr-defined]
        channels = config.latent_channels
        if config.latents_mean is None:
            return torch.zeros(1, channels, 1, 1), torch.full((1, channels, 1, 1), 1 / scale)
        rows = [
            torch.tensor(x).reshape(channels, -1) for x in (config.latents_mean, config.latents_std)
        ]
        mean, std = (row.T[:, :, None, None] for row in rows)
        return mean, std / scale

    @property
    def spatial_stride(self) -> int:
        if self.generation == "predict1":
            return int(self.vae.config.spatial_compression_ratio)
        return super().spatial_stride

    @property
    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        return list(network.transformer_blocks)

    @property
    def embedding_dim(self) -> int:
        config: Any = self.network.config
        width = config.num_attention_heads * config.attention_head_dim
        return int(width) * (4 if self.streams == "both" else 1)

    def completed(
        self, condition: Condition, codec: Codec, context: Tensor, generator: Generator
    ) -> Condition:
        """Predict1: with a little noise on the context."""
        if self.generation != "predict1" or not self.context_noise:
            return condition
        noise = randn(condition.latents.shape, generator, context.device)
        return condition._replace(latents=condition.latents + self.context_noise * noise)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        count, num_latents, _, height, width = noisy.shape
        clean_context = self.with_context(noisy, condition)
        if self.generation == "predict1":
            # The context is scaled as if it carried the noise that it does: almost none.
            little = torch.full_like(sigma, self.context_noise)
            context = self.process.scale_input(clean_context, little)
            time = self.process.time(sigma)[:, None].expand(-1, num_latents)
        else:
            context = clean_context
            time = self.times(sigma, num_latents, CONTEXT_TIME[self.generation])
        given = self.context_latents
        scaled = self.process.scale_input(noisy, sigma)
        scaled = torch.cat([context[:, :given], scaled[:, given:]], 1)
        shape = (count, 1, num_latents, height, width)
        mask = torch.zeros(shape, dtype=self.dtype, device=noisy.device)
        mask[:, :, :given] = 1
        padding = torch.zeros(1, 1, height, width, dtype=self.dtype, device=noisy.device)
        output = self.network(
            hidden_states=scaled.transpose(1, 2).to(self.dtype),
            timestep=time[:, None, :, None, None],
            encoder_hidden_states=condition.text.to(self.dtype),
            fps=None if self.generation == "predict2.5" else self.fps,
            condition_mask=mask,
            padding_mask=padding,
            return_dict=False,
        )[0]
        clean = self.process.denoised(output.transpose(1, 2).float(), noisy.float(), sigma)
        return self.with_context(clean, condition)


def _evenly(steps: int) -> dict[str, Any]:
    """As Predict2's pipeline asks for noise levels."""
    return {"sigmas": torch.linspace(0, 1, steps, dtype=torch.float64)}


def _embed_t5(folder: Path, texts: list[str]) -> tuple[Tensor, Tensor]:
    """As Predict1's and Predict2's pipelines embed texts: 512 tokens, zeros after the last."""
    from diffusers import Cosmos2VideoToWorldPipeline
    from transformers import T5EncoderModel

    parts = SimpleNamespace(
        tokenizer=load_tokenizer(folder / "tokenizer"),
        text_encoder=load_model(T5EncoderModel, folder / "text_encoder", "auto").eval(),
        _execution_device=torch.device("cpu"),
    )
    embeddings = Cosmos2VideoToWorldPipeline._get_t5_prompt_embeds(parts, texts)
    return embeddings, torch.ones(embeddings.shape[:2])


def _embed_qwen(folder: Path, texts: list[str]) -> tuple[Tensor, Tensor]:
    """As Predict2.5's pipeline embeds texts: all layers of Qwen2.5-VL, normed, side by side."""
    from diffusers import Cosmos2_5_PredictBasePipeline
    from transformers import Qwen2_5_VLForConditionalGeneration

    encoder = Qwen2_5_VLForConditionalGeneration
    parts = SimpleNamespace(
        tokenizer=load_tokenizer(folder / "tokenizer"),
        text_encoder=load_model(encoder, folder / "text_encoder", "auto").eval(),
        _execution_device=torch.device("cpu"),
    )
    embeddings = Cosmos2_5_PredictBasePipeline._get_prompt_embeds(parts, texts)
    return embeddings, torch.ones(embeddings.shape[:2])
