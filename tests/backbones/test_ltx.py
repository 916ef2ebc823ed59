"""LTX-Video: what is its own beside the questions asked of every family."""

import json
import shutil

import pytest
import torch

from egowm.backbones import LTX
from egowm.backbones.ltx import _pack, _unpack


@pytest.fixture
def base(tiny, tmp_path):
    """A copy of the folder that a test may change."""
    return shutil.copytree(tiny("ltx"), tmp_path / "base")


def loaded(folder, **options) -> LTX:
    backbone = LTX(str(folder), **options)
    backbone.load()
    return backbone


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_numbers_are_measured_and_read(tiny):
    backbone = loaded(tiny("ltx"))
    assert (backbone.codec.temporal_stride, backbone.spatial_stride, backbone.fps) == (8, 8, 25)
    assert backbone.latent_shape(32, 64) == (8, 4, 8)
    assert backbone.embedding_dim == 32


@pytest.mark.slow
def test_the_stride_of_the_published_vae_is_8():
    """Its configuration's strides with narrow layers: 8 frames and 32 pixels per latent."""
    from diffusers import AutoencoderKLLTXVideo

    from egowm.backbones.causal_codec import measured_stride

    vae = AutoencoderKLLTXVideo(
        block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)
    )
    assert vae.config.patch_size == 4
    assert vae.spatial_compression_ratio == 32
    assert measured_stride(vae.eval()) == (8, 8)


@pytest.mark.parametrize("patch", [1, 2])
def test_packing_is_the_stock_pipeline_s(patch):
    from diffusers import LTXImageToVideoPipeline as Pipeline

    latents = torch.randn(2, 3, 5, 4, 6)
    tokens = _pack(latents, patch)
    assert torch.equal(tokens, Pipeline._pack_latents(latents.transpose(1, 2), patch))
    assert torch.equal(_unpack(tokens, 3, 4 // patch, patch), latents)


def test_context_tokens_have_time_0(tiny):
    backbone, seen = loaded(tiny("ltx")), []
    frames = torch.rand(1, 1, 3, 32, 32) * 2 - 1
    condition = backbone.condition(frames, torch.zeros(1), num_frames=17)
    assert condition.text_mask.tolist() == [[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]]
    backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    out = backbone(torch.randn(1, 3, 8, 4, 4), torch.tensor([0.25]), condition)
    assert torch.equal(out[:, :1], condition.latents)
    assert seen[0]["timestep"].tolist() == [[0.0] * 16 + [250.0] * 32]
    assert seen[0]["rope_interpolation_scale"] == (8 / 25, 8, 8)


def test_the_context_is_a_draw_with_a_generator_and_the_mode_without(tiny):
    backbone = loaded(tiny("ltx"))
    frames = torch.rand(1, 1, 3, 32, 32) * 2 - 1
    posterior = backbone.vae.encode(frames.transpose(1, 2)).latent_dist
    for seed in (None, 3):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        again = None if seed is None else torch.Generator().manual_seed(seed)
        found = backbone.condition(frames, torch.zeros(1), generator, num_frames=17).latents
        z = posterior.mode() if seed is None else posterior.sample(again)
        torch.testing.assert_close(found, backbone.codec.scale(z.transpose(1, 2)))


@pytest.mark.long
def test_more_tokens_shift_the_noise_up(base):
    """exp of a line through (1024, 0.95) and (4096, 2.05), in training and in sampling."""
    backbone = loaded(base)
    size = (256, 256)  # 1024 latents a frame
    small, large = backbone.process_for(1, size), backbone.process_for(4, size)
    assert small.shift == pytest.approx(2.718281828**0.95, rel=1e-5)
    assert large.shift == pytest.approx(2.718281828**2.05, rel=1e-5)
    assert (large.sigmas(5)[1:-2] > small.sigmas(5)[1:-2]).all()
    assert small.sigmas(5)[-2] == pytest.approx(0.1)  # shift_terminal
    change(base / "scheduler/scheduler_config.json", use_dynamic_shifting=False, shift=3.0)
    assert loaded(base).process_for(4, size).shift == 3.0


@pytest.mark.long
def test_scaling_factor(base):
    frames = torch.rand(1, 9, 3, 32, 32) * 2 - 1
    plain = loaded(base)
    change(base / "vae/config.json", scaling_factor=0.5)
    scaled = loaded(base)
    latents = plain.codec.encode(frames)
    torch.testing.assert_close(scaled.codec.encode(frames), 0.5 * latents)
    torch.testing.assert_close(scaled.codec.decode(0.5 * latents), plain.codec.decode(latents))


@pytest.mark.long
def test_a_decoder_that_is_told_a_time(base):
    """As LTX 0.9.1's: what it is told matters, and its own noise is always the same."""
    from diffusers import AutoencoderKLLTXVideo

    torch.manual_seed(0)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        decoder_inject_noise=(True, True, True, True, False),
        patch_size=1,
        timestep_conditioning=True,
    )
    for name, parameter in vae.named_parameters():
        parameter.data *= 3.0 if "time" in name else 1.0
        if "per_channel_scale" in name:
            parameter.data += 0.3
    vae.save_pretrained(base / "vae")
    latents = torch.randn(1, 2, 8, 4, 4)
    early, late = loaded(base), loaded(base, decode_timestep=0.5)
    before = torch.random.get_rng_state()
    frames = early.codec.decode(latents)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert frames.shape == (1, 9, 3, 32, 32)
    assert torch.equal(early.codec.decode(latents), frames)
    assert (late.codec.decode(latents) - frames).abs().max() > 1e-3


def test_newer_pipelines_and_folded_frames_are_refused(base):
    change(base / "model_index.json", _class_name="LTXConditionPipeline")
    with pytest.raises(ValueError, match="LTXPipeline, got LTXConditionPipeline"):
        loaded(base)
    change(base / "model_index.json", _class_name="LTXImageToVideoPipeline")
    change(base / "transformer/config.json", patch_size_t=2)
    with pytest.raises(ValueError, match=r"patch_size_t 1\), got 2"):
        loaded(base)


def test_texts_are_embedded_as_the_stock_pipeline_does(base, tokenizer):
    from diffusers import LTXImageToVideoPipeline
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    encoder = T5EncoderModel(
        T5Config(vocab_size=16, d_model=32, d_ff=32, d_kv=8, num_layers=1, num_heads=2)
    ).eval()
    encoder.save_pretrained(base / "text_encoder")
    tokenizer.save_pretrained(base / "tokenizer")
    backbone = loaded(base)
    found, mask = backbone.codec.texts(["turn left"], torch.device("cpu"))
    parts = (None, backbone.vae, encoder, tokenizer, backbone.network)
    expected, counts = LTXImageToVideoPipeline(*parts)._get_t5_prompt_embeds("turn left")
    assert found.shape == (1, 128, 32)
    torch.testing.assert_close(found, expected)
    assert expected.std() > 0.1
    assert torch.equal(mask, counts.float())
    assert mask.sum() == 3
