"""SANA-WM (NVIDIA), loaded from a diffusers folder part by part.

Read in diffusers' `SanaWMPipeline`: the first latent frame is the context's, clean, at time 0; the
network is told whole thousandths of the noise level, rounded down, one for each latent frame; the
context is the mode of the VAE's posterior. Its camera input is optional and stays empty here: the
actions enter as for every family, by the timestep embedding. `SanaWMCamera` is the stock pipeline,
which takes a motion as poses of a camera, to compare with.
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
from egowm.backbones.schedulers import FLOW, StockLevels, Supported, load_scheduler, tried
from egowm.backbones.video_transformer import VideoTransformer
from egowm.conditioning.injection import enter_tokens, takes_actions
from egowm.diffusion import WholeTimes
from egowm.loading import INDEX, load_model, load_tokenizer, read_json

PIPELINE = "SanaWMPipeline"
SCHEDULERS: Supported = {name: FLOW[name] for name in ("FlowMatchEulerDiscreteScheduler",)}

CAMERA = ("_cam.", "plucker", "raymap")  # parts of the names of weights of the camera input
RECURRENT = ("A_log", "dt_bias", "beta_proj", "gate_proj")  # that blocks of softmax hold unused


def enter(network: Any, embedding: Tensor) -> list[RemovableHandle]:
    """SANA-WM: after `t_embedder`, before the blocks' modulation and the last norm are made."""
    return enter_tokens(network.t_embedder, embedding)


class SanaWM(VideoTransformer):
    """SANA-WM's bidirectional transformer of 1.6 billion parameters, without its refiner.

    Args:
        pretrained: Pipeline to start from: a folder, or a hub id that is in the local cache.
        revision: Commit of a hub id; null takes the one that is cached.
        download: Download a hub id that is not cached; needs a pinned `revision`.
        context: Context frames K, one more than a multiple of the VAE's temporal stride.
        fps: Frames per second, for the record; the network is told none.
        random: ["transformer"] starts it from random weights, with the configuration in the folder.
        process_mean: Mean of the logit of the training noise level, before the scheduler's shift.
        process_std: Standard deviation of that logit.
        vae_batch: Videos that the VAE encodes or decodes at once; 0 is all of a batch.

    >>> sana = SanaWM("Efficient-Large-Model/SANA-WM_bidirectional-diffusers", context=9)
    >>> sana.context, sana.fps  # nothing is loaded yet
    (9, 16)
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
        from diffusers import AutoencoderKLLTX2Video, SanaWMTransformer3DModel

        check_pipeline(folder)
        scheduler = load_scheduler(folder, SCHEDULERS)
        config = scheduler.config
        levels = tried(StockLevels(scheduler, folder / "scheduler", ceiling=1))
        times = config.num_train_timesteps
        self.process = WholeTimes(levels, config.shift, times, self.process_mean, self.process_std)
        self.vae = load_model(AutoencoderKLLTX2Video, folder / "vae")
        self.network = takes_actions(self.load_network(SanaWMTransformer3DModel, folder), enter)
        if self.random:
            _open_convolutions(self.network)
        _freeze_unused(self.network)
        return self.make_codec(CausalCodec, _embed_gemma)

    def statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = (x.reshape(1, -1, 1, 1) for x in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std / self.vae.config.scaling_factor

    @property
    def spatial_stride(self) -> int:
        return int(self.vae.spatial_compression_ratio)

    @property
    def blocks(self) -> list[nn.Module]:
        network: Any = self.network
        return list(network.blocks)

    @property
    def embedding_dim(self) -> int:
        config: Any = self.network.config
        return int(config.hidden_size)

    def forward(self, noisy: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        output = self.network(
            self.with_context(noisy, condition).transpose(1, 2).to(self.dtype),
            timestep=self.times(sigma, noisy.shape[1], 0.0)[:, None],
            encoder_hidden_states=condition.text[:, None].to(self.dtype),
            mask=condition.text_mask,
            return_dict=False,
        )[0]
        velocity = output.transpose(1, 2).float()
        return self.with_context(self.process.denoised(velocity, noisy.float(), sigma), condition)


@torch.no_grad()
def _open_convolutions(network: Any) -> None:
    """Let the convolutions over time of the keys begin as the identity: diffusers starts them at 0,
    where keys are 0 and no gradient ever reaches them."""
    for name, parameter in network.named_parameters():
        if name.endswith((".conv_q.weight", ".conv_k.weight", ".conv_v.weight")):
            parameter[..., -1] = 1.0


def _freeze_unused(network: Any) -> None:
    """Leave out of training what no call without a camera uses: processes that share gradients
    would wait for those weights'."""
    every = network.config.softmax_every_n
    for number, block in enumerate(network.blocks, 1):
        unused = RECURRENT if every and number % every == 0 else ()
        for name, parameter in block.attn.named_parameters():
            parameter.requires_grad_(not any(part in name for part in unused))
    for name, parameter in network.named_parameters():
        if any(part in name for part in CAMERA):
            parameter.requires_grad_(False)


def check_pipeline(folder: Path) -> None:
    """Refuse the folder of another pipeline."""
    name = read_json(folder, INDEX).get("_class_name")
    if name != PIPELINE:
        raise ValueError(f"{folder}: expected a pipeline of {PIPELINE}, got {name}.")


def _embed_gemma(folder: Path, texts: list[str]) -> tuple[Tensor, Tensor]:
    """As SANA-WM's pipeline embeds texts: 300 tokens after its instruction, and a mask of those
    that count; an empty text goes without the instruction, as its negative prompt does."""
    from diffusers import SanaWMPipeline
    from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
    from transformers import Gemma2ForCausalLM

    device = torch.device("cpu")
    parts = SimpleNamespace(
        tokenizer=load_tokenizer(folder / "tokenizer"),
        text_encoder=load_model(Gemma2ForCausalLM, folder / "text_encoder", "auto").eval(),
    )
    none = {
        "negative_prompt_embeds": torch.zeros(0),
        "negative_prompt_attention_mask": torch.zeros(0),
    }
    found = [
        SanaWMPipeline.encode_prompt(
            parts, text, device=device, chi_prompt=DEFAULT_CHI_PROMPT if text else None, **none
        )
        for text in texts
    ]
    embeddings, masks = (torch.cat([one[k] for one in found]) for k in (0, 1))
    return embeddings[:, 0], masks
