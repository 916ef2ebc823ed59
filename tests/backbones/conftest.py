"""Tiny pipeline folders of the real diffusers classes, one for each family of video transformers.

Each has model_index.json, vae, transformer, scheduler and `empty_text.safetensors`; Wan 2.1 also an
image encoder. Weights are amplified until outputs matter (see the shared conftest).
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch


class Family(NamedTuple):
    """What tests need to know: frames' size (H, W), the VAE's stride, future frames at once."""

    name: str
    backbone: str
    size: tuple[int, int]
    stride: int
    horizon: int


FAMILIES = {
    family.name: family
    for family in (
        Family("svd", "SVD", (16, 16), 1, 4),
        Family("predict1", "Cosmos", (32, 32), 8, 16),
        Family("predict2", "Cosmos", (16, 16), 4, 8),
        Family("predict2.5", "Cosmos", (16, 16), 4, 8),
        Family("wan2.1", "Wan", (16, 16), 4, 8),
        Family("wan2.2", "Wan", (32, 32), 4, 8),
        Family("ltx", "LTX", (32, 32), 8, 16),
        Family("sana", "SanaWM", (64, 64), 8, 16),
        Family("cdit", "CDiT", (16, 16), 1, 4),
    )
}
BY_FRAME = ("svd", "cdit")  # each frame encoded by itself, and no text
BY_TOKEN = [name for name in FAMILIES if name not in BY_FRAME]
TWINS = ("predict2", "wan2.1")  # of predict2.5 and wan2.2: their tests are long ones
TEXT, TOKENS = 32, 6  # width and number of a text's tokens


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_prior: Path) -> Callable[[str], Path]:
    """The folder of a family by its name, made when first asked for."""
    made: dict[str, Path] = {"svd": tiny_prior}

    def folder(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            made[name] = _write(tmp_path_factory.mktemp(name.replace(".", "_")), *_PARTS[name]())
        return made[name]

    return folder


@pytest.fixture(scope="session")
def _masters(tiny, spec) -> Callable[[str], Any]:
    import egowm.backbones
    from egowm.world_model import WorldModel

    made: dict[str, WorldModel] = {}

    def master(name: str) -> WorldModel:
        if name not in made:
            torch.manual_seed(0)
            family = FAMILIES[name]
            options = {"context": 1} if name == "cdit" else {}  # all others take one by default
            backbone = getattr(egowm.backbones, family.backbone)(str(tiny(name)), **options)
            model = WorldModel(backbone, steps=3, chunk=family.horizon, spec=spec, drop_action=0.1)
            model.configure_model()
            made[name] = model.eval()
        return made[name]

    return master


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.long] * (name in TWINS)) for name in FAMILIES]
)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def model(family: Family, _masters):
    """A fresh world model of the family, its action embedding at zero."""
    return copy.deepcopy(_masters(family.name))


@pytest.fixture
def tokenizer():
    """Whole words, an end token after each text, and room for any text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = {word: k for k, word in enumerate(("<pad>", "</s>", "<unk>", "turn", "left", "right"))}
    inner = Tokenizer(WordLevel(words, "<unk>"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def _write(folder: Path, index: dict[str, Any], parts: dict[str, Any]) -> Path:
    from safetensors.torch import save_file

    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            _amplify(part)
        part.save_pretrained(folder / name)
    library = {name: type(part).__module__.split(".")[0] for name, part in parts.items()}
    library["transformer"] = "diffusers"
    index |= {name: [library[name], type(part).__name__] for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    if index["_class_name"] == "CDiTPipeline":
        return folder  # takes no text
    empty = {"embedding": torch.randn(TOKENS, TEXT), "mask": (torch.arange(TOKENS) < 4).float()}
    save_file(empty, folder / "empty_text.safetensors")
    return folder


def _amplify(module: torch.nn.Module) -> None:
    from diffusers.models.modeling_utils import ModelMixin

    transformer = isinstance(module, ModelMixin) and "Transformer" in type(module).__name__
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data *= 2.0 if transformer else 1.3


def _wan_vae(**options: Any) -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.1] * 4,
        latents_std=[0.5] * 4,
        **options,
    )


def _cosmos_transformer(**options: Any) -> Any:
    from diffusers import CosmosTransformer3DModel

    settings: dict[str, Any] = {
        "in_channels": 5,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "mlp_ratio": 2,
        "text_embed_dim": TEXT,
        "adaln_lora_dim": 4,
        "max_size": (4, 32, 32),
        "patch_size": (1, 2, 2),
        "rope_scale": (1.0, 4.0, 4.0),
        "concat_padding_mask": True,
        "extra_pos_embed_type": None,
    }
    return CosmosTransformer3DModel(**settings | options)


def _predict1() -> tuple[dict[str, Any], dict[str, Any]]:
    from diffusers import AutoencoderKLCosmos, EDMEulerScheduler

    vae = AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8, 8),
        decode_block_out_channels=(8, 8, 8, 8),
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
        latents_mean=[0.01 * k for k in range(64)],
        latents_std=[0.5 + 0.01 * k for k in range(64)],
    )
    scheduler = EDMEulerScheduler(
        sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, final_sigmas_type="sigma_min"
    )
    transformer = _cosmos_transformer(extra_pos_embed_type="learnable", rope_scale=(2.0, 1.0, 1.0))
    parts = {"vae": vae, "transformer": transformer, "scheduler": scheduler}
    return {"_class_name": "CosmosVideoToWorldPipeline"}, parts


def _predict2() -> tuple[dict[str, Any], dict[str, Any]]:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    parts = {"vae": _wan_vae(), "transformer": _cosmos_transformer(), "scheduler": scheduler}
    return {"_class_name": "Cosmos2VideoToWorldPipeline"}, parts


def _predict25() -> tuple[dict[str, Any], dict[str, Any]]:
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        sigma_max=200.0,
        sigma_min=0.01,
    )
    transformer = _cosmos_transformer(
        use_crossattn_projection=True,
        crossattn_proj_in_channels=TEXT,
        encoder_hidden_states_channels=TEXT,
    )
    parts = {"vae": _wan_vae(), "transformer": transformer, "scheduler": scheduler}
    return {"_class_name": "Cosmos2_5_PredictBasePipeline"}, parts


def _wan_transformer(**options: Any) -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=24,
        out_channels=4,
        text_dim=TEXT,
        freq_dim=32,
        ffn_dim=64,
        num_layers=2,
        rope_max_seq_len=64,
        **options,
    )


def _unipc() -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


def _wan21() -> tuple[dict[str, Any], dict[str, Any]]:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    encoder = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
        )
    )
    parts = {
        "vae": _wan_vae(scale_factor_spatial=4),
        "transformer": _wan_transformer(in_channels=12, image_dim=16, added_kv_proj_dim=48),
        "scheduler": _unipc(),
        "image_encoder": encoder,
        "image_processor": CLIPImageProcessor(),
    }
    return {"_class_name": "WanImageToVideoPipeline"}, parts


def _wan22() -> tuple[dict[str, Any], dict[str, Any]]:
    options = {"in_channels": 12, "out_channels": 12, "patch_size": 2, "is_residual": True}
    parts = {
        "vae": _wan_vae(scale_factor_spatial=8, **options),
        "transformer": _wan_transformer(in_channels=4),
        "scheduler": _unipc(),
    }
    index = {"boundary_ratio": None, "expand_timesteps": True, "transformer_2": [None, None]}
    return {"_class_name": "WanPipeline", **index}, parts


def _ltx() -> tuple[dict[str, Any], dict[str, Any]]:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXVideoTransformer3DModel,
    )

    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        patch_size=1,
    )
    vae.latents_mean.copy_(torch.linspace(-0.2, 0.2, 8))
    vae.latents_std.copy_(torch.linspace(0.4, 0.8, 8))
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=TEXT,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )
    parts = {"vae": vae, "transformer": transformer, "scheduler": scheduler}
    return {"_class_name": "LTXPipeline"}, parts


def _sana() -> tuple[dict[str, Any], dict[str, Any]]:
    from diffusers import (
        AutoencoderKLLTX2Video,
        FlowMatchEulerDiscreteScheduler,
        SanaWMTransformer3DModel,
    )

    vae = AutoencoderKLLTX2Video(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        patch_size=2,
        spatial_compression_ratio=16,  # its own count takes a temporal block for a spatial one
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.linspace(-0.2, 0.2, 8))
    vae.latents_std.copy_(torch.linspace(0.4, 0.8, 8))
    transformer = SanaWMTransformer3DModel(
        in_channels=8,
        num_layers=2,
        hidden_size=32,
        num_attention_heads=2,
        linear_head_dim=16,
        softmax_every_n=2,
        caption_channels=TEXT,
    )
    for name, weight in transformer.named_parameters():
        if "conv_k" in name:  # they start at 0
            torch.nn.init.normal_(weight, std=0.1)
            weight.data[..., -1] += 1
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    parts = {"vae": vae, "transformer": transformer, "scheduler": scheduler}
    return {"_class_name": "SanaWMPipeline"}, parts


def _cdit() -> tuple[dict[str, Any], dict[str, Any]]:
    from diffusers import AutoencoderKL, DDPMScheduler

    from egowm.backbones.cdit import PAPER
    from egowm.network.cdit import CDiTTransformer2DModel

    vae = AutoencoderKL(
        block_out_channels=(8,) * 3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        mid_block_add_attention=False,
        scaling_factor=0.5,
    )
    transformer = CDiTTransformer2DModel(
        num_layers=2, hidden_size=32, num_attention_heads=2, mlp_ratio=2
    )
    for name, layer in transformer.named_modules():
        if "modulation" in name or name == "proj_out":  # they start at 0
            torch.nn.init.normal_(layer.weight, std=0.1)
    parts = {"vae": vae, "transformer": transformer, "scheduler": DDPMScheduler(**PAPER)}
    return {"_class_name": "CDiTPipeline"}, parts


_PARTS: dict[str, Callable[[], tuple[dict[str, Any], dict[str, Any]]]] = {
    "predict1": _predict1,
    "predict2": _predict2,
    "predict2.5": _predict25,
    "wan2.1": _wan21,
    "wan2.2": _wan22,
    "ltx": _ltx,
    "sana": _sana,
    "cdit": _cdit,
}
