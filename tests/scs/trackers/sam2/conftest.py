"""A tiny SAM 2 with weights large enough that what it finds depends on all of them."""

import numpy as np
import pytest
import torch

SIDE = 128


def tiny_config(side=SIDE):
    from transformers import (
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )

    width = 128
    backbone = Sam2HieraDetConfig(
        hidden_size=12,
        image_size=[side, side],
        blocks_per_stage=[1, 2, 3, 1],
        embed_dim_per_stage=[12, 24, 48, 96],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        global_attention_blocks=[4, 5],
        window_size_per_stage=[8, 4, 8, 4],
    )
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=[96, 48, 24, 12],
            backbone_feature_sizes=[[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
            fpn_hidden_size=width,
        ),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=width, image_size=side),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=width),
        image_size=side,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=4 * width,
    )


def amplify(model, bias=10.0, seed=0):
    """Fresh weights are so small that every mask is the same: make them matter.

    bias: of the object score; 10 keeps every object in view. Larger still, and rounding errors
    grow from frame to frame.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("pred_obj_score_head.proj_out.bias"):
                parameter.fill_(bias)
            elif name.endswith("layer_norm.weight") or ".layer_norm" in name:
                continue
            elif name.endswith("scale"):
                parameter.fill_(0.5)
            elif parameter.dim() > 1 and parameter.abs().sum() > 0:
                parameter.mul_(6)
            elif parameter.abs().sum() == 0:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def tiny_model(bias=10.0):
    from transformers import Sam2VideoModel

    torch.manual_seed(7)
    model = amplify(Sam2VideoModel(tiny_config()).eval(), bias)
    shared = model.prompt_encoder.shared_embedding
    shared.load_state_dict(model.shared_image_embedding.state_dict())
    return model


def make_video(num_frames, seed=0, size=(96, 160), first=0):
    """Noise in blocks, (T+1, H, W, 3) uint8; videos of one `first` share frame 0."""
    noise = np.random.default_rng([first, 0]).integers(0, 256, (1, *size, 3), np.uint8)
    rest = np.random.default_rng([seed, 1]).integers(0, 256, (num_frames - 1, *size, 3), np.uint8)
    return np.concatenate([noise, rest])


def make_masks(count, size=(96, 160)):
    """`count` rectangles, (O, H, W) bool."""
    masks = np.zeros((count, *size), bool)
    for k in range(count):
        top, left = 7 * k % 50, 31 * k % 100
        masks[k, top : top + 30 + k, left : left + 40 + 3 * k] = True
    return masks


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture(scope="session")
def weights(model):
    from egowm.scs.trackers.sam2.weights import Weights

    return Weights(model.config, dict(model.state_dict()))


@pytest.fixture(scope="session")
def checkpoint(weights, tmp_path_factory):
    """The tiny model as a Meta checkpoint."""
    from egowm.scs.trackers.sam2.weights import write_meta

    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    write_meta(weights, path)
    return path


@pytest.fixture(scope="session")
def folder(weights, tmp_path_factory):
    """The tiny model as a transformers folder."""
    from egowm.scs.trackers.sam2.weights import write_folder

    path = tmp_path_factory.mktemp("weights") / "tiny"
    write_folder(weights, path)
    return path
