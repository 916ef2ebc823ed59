"""Meta's checkpoints of SAM 2: their size, read off the tensors, and the tensors' names."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from egowm.checks import counted

_PE = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_SHARED = (  # transformers keeps the same matrix twice
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
_POINTS = tuple(f"sam_prompt_encoder.point_embeddings.{k}.weight" for k in range(4))
_POINT_EMBED = "prompt_encoder.point_embed.weight"  # the four as one matrix


class _Size(NamedTuple):
    """What cannot be read off the tensors' shapes, as in Meta's configuration files."""

    name: str
    blocks: tuple[int, int, int, int]
    heads: int  # of the first stage
    global_blocks: tuple[int, int, int]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7


_SIZES = {  # (width of the first stage, blocks)
    (96, 12): _Size("tiny", (1, 2, 7, 2), 1, (5, 7, 9)),
    (96, 16): _Size("small", (1, 2, 11, 2), 1, (7, 10, 13)),
    (112, 24): _Size("base_plus", (2, 3, 16, 3), 2, (12, 16, 20), background=14),
    (144, 48): _Size("large", (2, 6, 36, 4), 2, (23, 33, 43), windows=(8, 4, 16, 8)),
}


def read_architecture(meta: Mapping[str, Tensor]) -> Any:
    """transformers' configuration of a Meta checkpoint, SAM 2 or 2.1, of the four sizes.

    Raises ValueError for any other.
    """
    trunk = "image_encoder.trunk."
    if f"{trunk}pos_embed" not in meta:
        raise ValueError(
            f"Expected the weights of a SAM 2 video model, got {counted(len(meta), 'tensor')} "
            f"without {trunk}pos_embed. Bring a checkpoint of SAM 2 or 2.1."
        )
    width = meta[f"{trunk}pos_embed"].shape[1]
    depth = sum(name.startswith(f"{trunk}blocks.") and "norm1.weight" in name for name in meta)
    if (width, depth) not in _SIZES:
        known = ", ".join(size.name for size in _SIZES.values())
        raise ValueError(
            f"Expected a SAM 2 of a known size ({known}), got {counted(depth, 'block')} of width "
            f"{width}. Bring its transformers folder (config.json and model.safetensors) instead."
        )
    return _configure(
        width,
        _SIZES[width, depth],
        hidden="no_obj_embed_spatial" in meta,
        places="obj_ptr_tpos_proj.weight" in meta,
    )


def published(name: str) -> Any:
    """transformers' configuration of SAM 2.1 in one of its four sizes, without weights."""
    found = {size.name: (width, size) for (width, _), size in _SIZES.items()}
    if name not in found:
        raise ValueError(f"Expected a size of {', '.join(found)}, got {name!r}.")
    return _configure(*found[name], hidden=True, places=True)


def _configure(width: int, size: _Size, *, hidden: bool, places: bool) -> Any:
    """hidden, places: what only 2.1 has, an embedding of occlusion and the age of pointers."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    widths = [width << k for k in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=width,
        num_attention_heads=size.heads,
        blocks_per_stage=list(size.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[size.heads << k for k in range(4)],
        window_size_per_stage=list(size.windows),
        window_positional_embedding_background_size=[size.background] * 2,
        global_attention_blocks=list(size.global_blocks),
    )
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=widths[::-1]
        ),
        enable_occlusion_spatial_embedding=hidden,
        enable_temporal_pos_encoding_for_object_pointers=places,
    )


def to_transformers(meta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a Meta checkpoint under transformers' names; ValueError names unknown ones."""
    found = _rename({k: v for k, v in meta.items() if k != _PE and k not in _POINTS}, _TO_OURS)
    if _PE in meta:
        found |= dict.fromkeys(_SHARED, meta[_PE])
    if all(name in meta for name in _POINTS):
        found[_POINT_EMBED] = torch.cat([meta[name] for name in _POINTS])
    return found


def to_meta(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of transformers under Meta's names; ValueError names unknown ones."""
    special = {*_SHARED, _POINT_EMBED}
    found = _rename({k: v for k, v in tensors.items() if k not in special}, _TO_META)
    held = [tensors[name] for name in _SHARED if name in tensors]
    if held and not torch.equal(held[0], held[-1]):
        raise ValueError(
            f"Expected {' and '.join(_SHARED)} to be equal, as in every SAM 2, got two matrices."
        )
    if held:
        found[_PE] = held[0]
    if _POINT_EMBED in tensors:
        rows = tensors[_POINT_EMBED].split(1)
        found |= {name: row.clone() for name, row in zip(_POINTS, rows, strict=True)}
    return found


def share_position(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the twice-kept matrix under both names, where a file holds it once."""
    held = [tensors[name] for name in _SHARED if name in tensors]
    return {**dict.fromkeys(_SHARED, held[0]), **tensors} if held else dict(tensors)


def _rename(
    tensors: Mapping[str, Tensor], rules: list[tuple[re.Pattern[str], str]]
) -> dict[str, Tensor]:
    found, unknown = {}, []
    for name, tensor in tensors.items():
        matches = ((rule.fullmatch(name), target) for rule, target in rules)
        renamed = next((match.expand(target) for match, target in matches if match), None)
        if renamed is None:
            unknown.append(name)
        else:
            found[renamed] = tensor
    if unknown:
        shown = ", ".join(sorted(unknown)[:5])
        raise ValueError(
            f"Expected the weights of a SAM 2 video model, got "
            f"{counted(len(unknown), 'unknown tensor')}: {shown}. Bring a checkpoint of SAM 2 or "
            f"2.1."
        )
    return found


def _pairs() -> Iterator[tuple[str, str]]:
    """(Meta's module, transformers' module); # stands for any number."""
    trunk, backbone = "image_encoder.trunk", "vision_encoder.backbone"
    yield f"{trunk}.patch_embed.proj", f"{backbone}.patch_embed.projection"
    for name in ("pos_embed", "pos_embed_window"):
        yield f"{trunk}.{name}", f"{backbone}.{name}"
    for name in ("attn.qkv", "attn.proj", "proj"):
        yield f"{trunk}.blocks.#.{name}", f"{backbone}.blocks.#.{name}"
    for k in (1, 2):
        yield f"{trunk}.blocks.#.norm{k}", f"{backbone}.blocks.#.layer_norm{k}"
    yield from _mlp(f"{trunk}.blocks.#.mlp", f"{backbone}.blocks.#.mlp", 2)
    yield "image_encoder.neck.convs.#.conv", "vision_encoder.neck.convs.#"
    yield "mask_downsample", "mask_downsample"
    yield "maskmem_tpos_enc", "memory_temporal_positional_encoding"
    yield "no_mem_embed", "no_memory_embedding"
    yield "no_mem_pos_enc", "no_memory_positional_encoding"
    yield "no_obj_ptr", "no_object_pointer"
    yield "no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"
    yield "obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"
    yield from _mlp("obj_ptr_proj", "object_pointer_proj", 3)
    yield from _memory()
    yield from _prompt()
    yield from _decoder()


def _memory() -> Iterator[tuple[str, str]]:
    layer = "memory_attention.layers.#"
    for name in ("self_attn", "cross_attn_image"):
        yield from _attention(f"{layer}.{name}", f"{layer}.{name}")
    for k in (1, 2):
        yield f"{layer}.linear{k}", f"{layer}.linear{k}"
    for k in (1, 2, 3):
        yield f"{layer}.norm{k}", f"{layer}.layer_norm{k}"
    yield "memory_attention.norm", "memory_attention.layer_norm"
    yield "memory_encoder.pix_feat_proj", "memory_encoder.feature_projection"
    yield "memory_encoder.out_proj", "memory_encoder.projection"
    down = "memory_encoder.mask_downsampler"
    for k in range(4):  # convolution, norm, activation, four times
        yield f"{down}.encoder.{3 * k}", f"{down}.layers.{k}.conv"
        yield f"{down}.encoder.{3 * k + 1}", f"{down}.layers.{k}.layer_norm"
    yield f"{down}.encoder.12", f"{down}.final_conv"
    fuser = ("memory_encoder.fuser.layers.#", "memory_encoder.memory_fuser.layers.#")
    parts = {"dwconv": "depthwise_conv", "norm": "layer_norm", "gamma": "scale"}
    parts |= {f"pwconv{k}": f"pointwise_conv{k}" for k in (1, 2)}
    for meta, ours in parts.items():
        yield f"{fuser[0]}.{meta}", f"{fuser[1]}.{ours}"


def _prompt() -> Iterator[tuple[str, str]]:
    meta, ours = "sam_prompt_encoder", "prompt_encoder"
    for name in ("no_mask_embed", "not_a_point_embed"):
        yield f"{meta}.{name}", f"{ours}.{name}"
    parts = {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"}
    for k, name in parts.items():
        yield f"{meta}.mask_downscaling.{k}", f"{ours}.mask_embed.{name}"


def _decoder() -> Iterator[tuple[str, str]]:
    meta, ours = "sam_mask_decoder", "mask_decoder"
    for name in ("conv_s0", "conv_s1", "iou_token", "mask_tokens", "obj_score_token"):
        yield f"{meta}.{name}", f"{ours}.{name}"
    for k, name in {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"}.items():
        yield f"{meta}.output_upscaling.{k}", f"{ours}.{name}"
    for name in ("iou_prediction_head", "pred_obj_score_head", "output_hypernetworks_mlps.#"):
        yield from _mlp(f"{meta}.{name}", f"{ours}.{name}", 3)
    meta, ours = f"{meta}.transformer", f"{ours}.transformer"
    yield from _attention(f"{meta}.final_attn_token_to_image", f"{ours}.final_attn_token_to_image")
    yield f"{meta}.norm_final_attn", f"{ours}.layer_norm_final_attn"
    for name in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
        yield from _attention(f"{meta}.layers.#.{name}", f"{ours}.layers.#.{name}")
    for k in (1, 2, 3, 4):
        yield f"{meta}.layers.#.norm{k}", f"{ours}.layers.#.layer_norm{k}"
    yield from _mlp(f"{meta}.layers.#.mlp", f"{ours}.layers.#.mlp", 2)


def _attention(meta: str, ours: str) -> Iterator[tuple[str, str]]:
    for name in ("q_proj", "k_proj", "v_proj"):
        yield f"{meta}.{name}", f"{ours}.{name}"
    yield f"{meta}.out_proj", f"{ours}.o_proj"


def _mlp(meta: str, ours: str, depth: int) -> Iterator[tuple[str, str]]:
    yield f"{meta}.layers.0", f"{ours}.proj_in"
    for k in range(1, depth - 1):
        yield f"{meta}.layers.{k}", f"{ours}.layers.{k - 1}"
    yield f"{meta}.layers.{depth - 1}", f"{ours}.proj_out"


def _rule(source: str, target: str) -> tuple[re.Pattern[str], str]:
    """A whole name, with whatever parameter it ends in, and what it becomes."""
    pattern = re.escape(source).replace(r"\#", r"(\d+)") + r"(\.weight|\.bias|)"
    numbered = target
    for k in range(1, source.count("#") + 1):
        numbered = numbered.replace("#", rf"\g<{k}>", 1)
    return re.compile(pattern), numbered + rf"\g<{source.count('#') + 1}>"


_TO_OURS = [_rule(meta, ours) for meta, ours in _pairs()]
_TO_META = [_rule(ours, meta) for meta, ours in _pairs()]
