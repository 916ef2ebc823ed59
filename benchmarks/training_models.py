"""Pipelines of published sizes, as configurations: their weights are drawn, none are read."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from provenance import ROOT

from egowm.loading import untrained

SVD_UNET = {
    "_class_name": "UNetSpatioTemporalConditionModel",
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": [*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3],
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [5, 10, 20, 20],
    "num_frames": 25,
}
SVD_VAE = {
    "_class_name": "AutoencoderKLTemporalDecoder",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
SVD_ENCODER = {
    "model_type": "clip_vision_model",
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1024,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
}
COSMOS_TRANSFORMER = {  # Predict2 2B Video2World
    "_class_name": "CosmosTransformer3DModel",
    "in_channels": 17,
    "out_channels": 16,
    "num_attention_heads": 16,
    "attention_head_dim": 128,
    "num_layers": 28,
    "mlp_ratio": 4.0,
    "text_embed_dim": 1024,
    "adaln_lora_dim": 256,
    "max_size": [128, 240, 240],
    "patch_size": [1, 2, 2],
    "rope_scale": [1.0, 3.0, 3.0],
    "concat_padding_mask": True,
    "extra_pos_embed_type": None,
}
COSMOS_VAE = {  # Wan 2.1's
    "_class_name": "AutoencoderKLWan",
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "dropout": 0.0,
    "latents_mean": [0.0] * 16,
    "latents_std": [1.0] * 16,
}


def write_svd(folder: Path) -> Path:
    """SVD XT: 1.5 B parameters in the UNet, 0.1 B in the VAE, 0.6 B in the image encoder."""
    parts = {"unet": SVD_UNET, "vae": SVD_VAE, "image_encoder": SVD_ENCODER}
    source = ROOT / "priors/rooms-svd"
    shutil.copytree(source / "feature_extractor", folder / "feature_extractor", dirs_exist_ok=True)
    return _write(folder, source, parts)


def write_cosmos(folder: Path) -> Path:
    """Cosmos Predict2 2B Video2World, with a text "" of 512 tokens in place of its encoder."""
    from safetensors.torch import save_file

    made = _write(
        folder, ROOT / "priors/rooms-cosmos", {"transformer": COSMOS_TRANSFORMER, "vae": COSMOS_VAE}
    )
    empty = {"embedding": torch.zeros(512, 1024), "mask": torch.ones(512)}
    save_file(empty, folder / "empty_text.safetensors")
    return made


def _write(folder: Path, source: Path, parts: dict[str, dict[str, Any]]) -> Path:
    """Configurations, with the scheduler of one of the committed priors."""
    shutil.copytree(source / "scheduler", folder / "scheduler", dirs_exist_ok=True)
    shutil.copy(source / "model_index.json", folder)
    for name, config in parts.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


@contextmanager
def random_weights(device: str) -> Iterator[None]:
    """Inside, `from_pretrained` of diffusers and transformers draws weights, on `device`."""
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

    def drawn(cls: Any, folder: Any, **options: Any) -> Any:
        with torch.device(device):
            return untrained(cls, Path(folder))

    with (
        patch("egowm.loading.variant_of", lambda folder, stem: ""),
        patch.object(ModelMixin, "from_pretrained", classmethod(drawn)),
        patch.object(PreTrainedModel, "from_pretrained", classmethod(drawn)),
    ):
        yield
