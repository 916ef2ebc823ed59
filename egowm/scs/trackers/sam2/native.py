"""The `sam2` package as a second implementation: Meta's own model and memory, object by object."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from egowm.scs.trackers.sam2.lockstep import Step
from egowm.scs.trackers.sam2.meta import to_meta
from egowm.scs.trackers.sam2.pictures import to_pixels, to_prompts
from egowm.scs.trackers.sam2.weights import Weights


def build_native(weights: Weights) -> Any:
    """Meta's `SAM2VideoPredictor` with `weights`; ValueError where `sam2` is not installed.

    Small holes are never filled: that needs a CUDA extension, so masks would depend on the machine.
    """
    try:
        from sam2.sam2_video_predictor import SAM2VideoPredictor
    except ImportError as error:
        raise ValueError(
            "The native implementation needs the package sam2: SAM2_BUILD_CUDA=0 pip install "
            "--no-build-isolation sam2. The other one is --tracker_implementation transformers."
        ) from error
    config = weights.config
    decoder = config.mask_decoder_config
    _check_fixed_sizes(config)
    model = SAM2VideoPredictor(
        fill_hole_area=0,
        image_encoder=_image_encoder(config.vision_config),
        memory_attention=_memory_attention(config),
        memory_encoder=_memory_encoder(config),
        num_maskmem=config.num_maskmem,
        image_size=config.image_size,
        sigmoid_scale_for_mem_enc=config.sigmoid_scale_for_mem_enc,
        sigmoid_bias_for_mem_enc=config.sigmoid_bias_for_mem_enc,
        binarize_mask_from_pts_for_mem_enc=True,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=config.multimask_output_in_sam,
        multimask_min_pt_num=config.multimask_min_pt_num,
        multimask_max_pt_num=config.multimask_max_pt_num,
        multimask_output_for_tracking=config.multimask_output_for_tracking,
        use_multimask_token_for_obj_ptr=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        max_obj_ptrs_in_encoder=config.max_object_pointers_in_encoder,
        add_tpos_enc_to_obj_ptrs=config.enable_temporal_pos_encoding_for_object_pointers,
        proj_tpos_enc_in_obj_ptrs=config.enable_temporal_pos_encoding_for_object_pointers,
        use_signed_tpos_enc_to_obj_ptrs=True,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        no_obj_embed_spatial=config.enable_occlusion_spatial_embedding,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": decoder.dynamic_multimask_via_stability,
            "dynamic_multimask_stability_delta": decoder.dynamic_multimask_stability_delta,
            "dynamic_multimask_stability_thresh": decoder.dynamic_multimask_stability_thresh,
        },
    )
    model.load_state_dict(to_meta(weights.tensors))
    return model.eval()


@torch.inference_mode()
def follow_native(model: Any, frames: np.ndarray, masks: np.ndarray) -> Iterator[Step]:
    """What is found in frames 1..T of `frames (T+1, H, W, 3)` uint8; masks: (O, H, W) bool."""
    state = _state(model, frames)
    for k, prompt in enumerate(to_prompts(masks, model.image_size, model.device)[:, 0]):
        model.add_new_mask(state, 0, k, prompt)
    model.propagate_in_video_preflight(state)
    for t in range(1, len(frames)):
        found = [_advance(model, state, k, t) for k in range(len(masks))]
        logits = torch.cat([out["pred_masks"][:, 0].float() for out in found])
        scores = torch.cat([out["object_score_logits"].flatten().float() for out in found])
        yield Step(logits, scores)


def _advance(model: Any, state: dict[str, Any], k: int, t: int) -> dict[str, Tensor]:
    """One object in one frame. `propagate_in_video` does the same, and keeps every frame."""
    kept = state["output_dict_per_obj"][k]
    found, _ = model._run_single_frame_inference(
        inference_state=state,
        output_dict=kept,
        frame_idx=t,
        batch_size=1,
        is_init_cond_frame=False,
        point_inputs=None,
        mask_inputs=None,
        reverse=False,
        run_mem_encoder=True,
    )
    kept["non_cond_frame_outputs"][t] = found
    kept["non_cond_frame_outputs"].pop(t - model.max_obj_ptrs_in_encoder, None)
    return found


class _Pixels:
    """Frames as the predictor wants them, prepared when it asks for one."""

    def __init__(self, frames: np.ndarray, side: int, device: torch.device) -> None:
        self.frames, self.side, self.device = frames, side, device

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, t: int) -> Tensor:
        return to_pixels(self.frames[t : t + 1], self.side, self.device)[0]


def _state(model: Any, frames: np.ndarray) -> dict[str, Any]:
    """As `init_state`, which reads files only; encoding frames as JPEG for it would change them."""
    from collections import OrderedDict

    side, device = model.image_size, model.device
    return {
        "images": _Pixels(frames, side, device),
        "num_frames": len(frames),
        "video_height": side // 4,
        "video_width": side // 4,
        "device": device,
        "storage_device": device,
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "point_inputs_per_obj": {},
        "mask_inputs_per_obj": {},
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        "output_dict_per_obj": {},
        "temp_output_dict_per_obj": {},
        "frames_tracked_per_obj": {},
    }


def _check_fixed_sizes(config: Any) -> None:
    """The package writes these into its code."""
    decoder = config.mask_decoder_config
    fixed = {
        "mask_decoder_config.mlp_dim": (decoder.mlp_dim, 2048),
        "mask_decoder_config.num_attention_heads": (decoder.num_attention_heads, 8),
        "mask_decoder_config.iou_head_hidden_dim": (decoder.iou_head_hidden_dim, 256),
        "prompt_encoder_config.mask_input_channels": (
            config.prompt_encoder_config.mask_input_channels, 16,
        ),
    }  # fmt: skip
    wrong = [
        f"{k} {expected}, got {got}" for k, (got, expected) in fixed.items() if got != expected
    ]
    if wrong:
        raise ValueError(
            f"The package sam2 has fixed sizes: expected {', '.join(wrong)}. Use "
            f"--tracker_implementation transformers."
        )


def _image_encoder(config: Any) -> Any:
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    backbone = config.backbone_config
    background = backbone.window_positional_embedding_background_size
    trunk = Hiera(
        embed_dim=backbone.embed_dim_per_stage[0],
        num_heads=backbone.num_attention_heads_per_stage[0],
        stages=tuple(backbone.blocks_per_stage),
        window_spec=tuple(backbone.window_size_per_stage),
        global_att_blocks=tuple(backbone.global_attention_blocks),
        window_pos_embed_bkg_spatial_size=tuple(background),
    )
    neck = FpnNeck(
        position_encoding=PositionEmbeddingSine(num_pos_feats=config.fpn_hidden_size),
        d_model=config.fpn_hidden_size,
        backbone_channel_list=list(config.backbone_channel_list),
        fpn_top_down_levels=list(config.fpn_top_down_levels),
        fpn_interp_model="nearest",
    )
    return ImageEncoder(trunk, neck, scalp=1)


def _memory_attention(config: Any) -> Any:
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
    from sam2.modeling.sam.transformer import RoPEAttention

    width = config.memory_attention_hidden_size
    shared = {
        "rope_theta": config.rope_parameters["rope_theta"],
        "feat_sizes": list(config.memory_attention_rope_feat_sizes),
        "embedding_dim": width,
        "num_heads": config.memory_attention_num_attention_heads,
        "downsample_rate": config.memory_attention_downsample_rate,
    }
    layer = MemoryAttentionLayer(
        activation=config.memory_attention_feed_forward_hidden_act,
        cross_attention=RoPEAttention(
            rope_k_repeat=True, kv_in_dim=config.memory_encoder_output_channels, **shared
        ),
        d_model=width,
        dim_feedforward=config.memory_attention_feed_forward_hidden_size,
        dropout=0.0,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=RoPEAttention(**shared),
    )
    return MemoryAttention(width, True, layer, config.memory_attention_num_layers)


def _memory_encoder(config: Any) -> Any:
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    block = CXBlock(
        config.memory_fuser_embed_dim,
        kernel_size=config.memory_fuser_kernel_size,
        padding=config.memory_fuser_padding,
    )
    return MemoryEncoder(
        out_dim=config.memory_encoder_output_channels,
        in_dim=config.memory_encoder_hidden_size,
        mask_downsampler=MaskDownSampler(
            config.mask_downsampler_embed_dim,
            kernel_size=config.mask_downsampler_kernel_size,
            stride=config.mask_downsampler_stride,
            padding=config.mask_downsampler_padding,
        ),
        fuser=Fuser(block, config.memory_fuser_num_layers),
        position_encoding=PositionEmbeddingSine(
            num_pos_feats=config.memory_encoder_output_channels
        ),
    )
