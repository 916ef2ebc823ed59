"""The size of a SAM 2 checkpoint, read off its tensors: Meta's files do not say it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor


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
            f"Expected the weights of a SAM 2 video model, got {len(meta)} tensors without "
            f"{trunk}pos_embed. Bring a checkpoint of SAM 2 or 2.1."
        )
    width = meta[f"{trunk}pos_embed"].shape[1]
    depth = sum(name.startswith(f"{trunk}blocks.") and "norm1.weight" in name for name in meta)
    if (width, depth) not in _SIZES:
        known = ", ".join(size.name for size in _SIZES.values())
        raise ValueError(
            f"Expected a SAM 2 of a known size ({known}), got {depth} blocks of width {width}. "
            f"Bring its transformers folder (config.json and model.safetensors) instead."
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
