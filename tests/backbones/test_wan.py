"""Wan: what is its own beside the questions asked of every family."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from egowm.backbones import Wan


@pytest.fixture
def base(tiny, tmp_path):
    """A copy of Wan 2.1's folder that a test may change."""
    return shutil.copytree(tiny("wan2.1"), tmp_path / "base")


def loaded(folder) -> Wan:
    backbone = Wan(str(folder))
    backbone.load()
    return backbone


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_numbers_are_measured_and_read(tiny):
    for name, spatial in (("wan2.1", 4), ("wan2.2", 8)):
        backbone = loaded(tiny(name))
        assert (backbone.codec.temporal_stride, backbone.spatial_stride) == (4, spatial)
        assert backbone.latent_shape(32, 64) == (4, 32 // spatial, 64 // spatial)
        assert backbone.embedding_dim == 48
        assert backbone.by_time == (name == "wan2.2")


def test_wan_2_1_sees_mask_and_grey_latents_by_channel(tiny):
    """4 mask channels that mark the context's latents, then the latents of [context, grey ...]."""
    backbone, seen = loaded(tiny("wan2.1")), []
    frames = torch.rand(1, 1, 3, 16, 16) * 2 - 1
    condition = backbone.condition(frames, torch.zeros(1), num_frames=9)
    video = torch.cat([frames, torch.zeros(1, 8, 3, 16, 16)], 1)
    assert torch.equal(condition.latents, backbone.codec.encode(video))
    backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    noisy = torch.randn(1, 3, 4, 4, 4)
    out = backbone(noisy, torch.tensor([0.7]), condition)
    given = seen[0]["hidden_states"].transpose(1, 2)
    assert torch.equal(given[:, :, :4], noisy)
    assert given[:, 0, 4:8].eq(1).all()
    assert given[:, 1:, 4:8].eq(0).all()
    assert torch.equal(given[:, :, 8:], condition.latents)
    assert torch.equal(seen[0]["timestep"], torch.full((1, 3 * 4), 700.0).floor())
    assert (out[:, 0] - noisy[:, 0]).abs().max() > 1e-3  # the context's latent is generated, too
    with pytest.raises(ValueError, match="expected num_frames above 1, got 0"):
        backbone.condition(frames, torch.zeros(1))


def test_ti2v_keeps_its_context_clean_at_time_0(tiny):
    backbone, seen = loaded(tiny("wan2.2")), []
    frames = torch.rand(1, 1, 3, 32, 32) * 2 - 1
    condition = backbone.condition(frames, torch.zeros(1), num_frames=9)
    assert len(condition.image) == 0
    backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    out = backbone(torch.randn(1, 3, 4, 4, 4), torch.tensor([0.25]), condition)
    assert torch.equal(out[:, :1], condition.latents)
    assert torch.equal(seen[0]["hidden_states"][:, :, 0], condition.latents[:, 0])
    assert seen[0]["timestep"].tolist() == [[0.0] * 4 + [250.0] * 8]


def test_a_scheduler_with_whole_times_rounds_down(base):
    """UniPC's timesteps are integers; those of flow matching's Euler scheduler are not."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    sigma = torch.tensor([0.9996, 0.25])
    process = loaded(base).process
    assert process.time(sigma).tolist() == [999.0, 250.0]
    assert process.shift == 3.0
    FlowMatchEulerDiscreteScheduler(shift=5.0).save_pretrained(base / "scheduler")
    change(base / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    process = loaded(base).process
    assert process.time(sigma).tolist() == pytest.approx([999.6, 250.0])
    assert process.shift == 5.0


def test_other_schedulers_and_transformers_are_refused(base):
    change(base / "scheduler/scheduler_config.json", use_flow_sigmas=False)
    with pytest.raises(ValueError, match="use_flow_sigmas False is not supported: expected True"):
        loaded(base)
    change(base / "scheduler/scheduler_config.json", use_flow_sigmas=True)
    change(base / "transformer/config.json", pos_embed_seq_len=34)
    path = base / "transformer/diffusion_pytorch_model.safetensors"
    extra = {"condition_embedder.image_embedder.pos_embed": torch.zeros(1, 34, 16)}
    save_file(load_file(path) | extra, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"first-and-last-frame .*pos_embed_seq_len 34"):
        loaded(base)


def test_a_two_stage_pipeline_is_refused_by_name(base):
    change(base / "model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"])
    with pytest.raises(ValueError, match="WanImageToVideoPipeline with two transformers"):
        loaded(base)


def test_texts_are_embedded_as_the_stock_pipeline_does(base, monkeypatch, tokenizer):
    from diffusers import WanImageToVideoPipeline
    from diffusers.pipelines.wan import pipeline_wan_i2v
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=16, d_model=32, d_ff=32, d_kv=8, num_layers=1, num_heads=2)
    ).eval()
    encoder.save_pretrained(base / "text_encoder")
    tokenizer.save_pretrained(base / "tokenizer")
    backbone = loaded(base)
    monkeypatch.delattr(pipeline_wan_i2v, "ftfy", raising=False)
    with pytest.raises(ImportError, match="ftfy, which is missing"):
        backbone.codec.texts(["turn left"], torch.device("cpu"))

    class Ftfy:
        fix_text = staticmethod(lambda text: text)

    monkeypatch.setattr(pipeline_wan_i2v, "ftfy", Ftfy, raising=False)
    found, _ = backbone.codec.texts(["turn left"], torch.device("cpu"))
    pipeline = WanImageToVideoPipeline(tokenizer, encoder, backbone.vae, scheduler=None)
    expected = pipeline._get_t5_prompt_embeds("turn left")[0]
    assert found.shape == (1, 512, 32)
    torch.testing.assert_close(found[0], expected)
    assert expected[:2].std() > 0.1
    assert expected[3:].abs().max() == 0
