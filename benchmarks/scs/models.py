"""Random SAM 2 models and clips of noise: what `benchmarks/scs/speed.py` times."""

from typing import Any

import numpy as np
import torch
from transformers import (
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
)

from egowm.scs.trackers.sam2.meta import published

SIZES = ("toy", "tiny", "small", "base_plus", "large")
SIZE = (96, 160)  # of a frame


def random_model(size: str) -> Any:
    """A random model whose outputs are not near zero, so that equal masks say something."""
    torch.manual_seed(0)
    model = Sam2VideoModel(_toy() if size == "toy" else published(size))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
            elif name.endswith("pred_obj_score_head.proj_out.bias"):
                parameter.fill_(10)
    return model


def _toy(side: int = 128, width: int = 128) -> Any:
    backbone = Sam2HieraDetConfig(
        hidden_size=12,
        image_size=[side, side],
        blocks_per_stage=[1, 2, 3, 1],
        embed_dim_per_stage=[12, 24, 48, 96],
        global_attention_blocks=[4, 5],
        window_size_per_stage=[8, 4, 8, 4],
    )
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=[96, 48, 24, 12],
            backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
            fpn_hidden_size=width,
        ),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=width, image_size=side),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=width, mlp_dim=64),
        image_size=side,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_encoder_hidden_size=width,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=64,
    )


class Clip:
    """A truth and its predictions, which share frame 0, and the structures in it."""

    def __init__(self, frames: int, objects: int, predictions: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        shape = (1 + predictions, frames, *SIZE, 3)
        self.videos = list(generator.integers(0, 256, shape, np.uint8))
        for video in self.videos:
            video[0] = self.videos[0][0]
        self.masks = np.zeros((objects, *SIZE), bool)
        for k in range(objects):
            top, left = 7 * k % 50, 31 * k % 100
            self.masks[k, top : top + 40, left : left + 50] = True
