"""SANA-WM: what is its own beside the questions asked of every family."""

import json
import shutil

import pytest
import torch

from egowm.backbones import SanaWM


@pytest.fixture
def base(tiny, tmp_path):
    """A copy of the folder that a test may change."""
    return shutil.copytree(tiny("sana"), tmp_path / "base")


def loaded(folder, **options) -> SanaWM:
    backbone = SanaWM(str(folder), **options)
    backbone.load()
    return backbone


def change(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_numbers_are_measured_and_read(tiny):
    backbone = loaded(tiny("sana"))
    assert (backbone.codec.temporal_stride, backbone.spatial_stride, backbone.fps) == (8, 16, 16)
    assert backbone.latent_shape(32, 64) == (8, 2, 4)
    assert backbone.embedding_dim == 32
    assert backbone.process.shift == 3.0


def test_the_context_has_time_0_and_times_are_whole(tiny):
    """As the network reads them, which cuts fractions off; no camera is told."""
    backbone, seen = loaded(tiny("sana")), []
    frames = torch.rand(1, 1, 3, 64, 64) * 2 - 1
    condition = backbone.condition(frames, torch.zeros(1), num_frames=17)
    backbone.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    out = backbone(torch.randn(1, 3, 8, 4, 4), torch.tensor([0.2507]), condition)
    assert torch.equal(out[:, :1], condition.latents)
    assert seen[0]["timestep"].tolist() == [[[0.0, 250.0, 250.0]]]
    assert seen[0]["mask"].tolist() == [[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]]
    assert "camera_conditions" not in seen[0]


def test_what_no_call_without_a_camera_uses_is_not_trained(tiny):
    network = loaded(tiny("sana")).network  # its second block is one of softmax
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    recurrent = {f"blocks.1.attn.{x}" for x in ("A_log", "dt_bias", "beta_proj.bias")}
    assert recurrent <= frozen
    assert not {name.replace("blocks.1", "blocks.0") for name in recurrent} & frozen
    assert {"plucker_embedder.proj.weight", "blocks.0.attn.q_proj_cam.weight"} <= frozen
    assert not {"blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight", "t_block.1.bias"} & frozen


def test_random_weights_begin_with_keys(tiny):
    backbone = loaded(tiny("sana"), random=["transformer"])
    weight = backbone.network.blocks[0].attn.conv_k.weight
    assert weight[0, 0].tolist() == [0.0, 0.0, 0.0, 1.0]
    frames = torch.rand(1, 1, 3, 64, 64) * 2 - 1
    condition = backbone.condition(frames, torch.zeros(1), num_frames=17)
    out = backbone(torch.randn(1, 3, 8, 4, 4), torch.tensor([0.5]), condition)
    out[:, 1:].square().sum().backward()
    assert weight.grad.abs().max() > 0


def test_other_pipelines_are_refused(base):
    change(base / "model_index.json", _class_name="SanaVideoPipeline")
    with pytest.raises(ValueError, match="of SanaWMPipeline, got SanaVideoPipeline"):
        loaded(base)


def test_texts_are_embedded_as_the_stock_pipeline_does(base, tokenizer):
    """After its instruction; an empty one without, as the pipeline's negative prompt."""
    from diffusers import SanaWMPipeline
    from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=16, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16,
    )  # fmt: skip
    encoder = Gemma2ForCausalLM(config).eval()
    encoder.save_pretrained(base / "text_encoder")
    tokenizer.save_pretrained(base / "tokenizer")
    (base / "empty_text.safetensors").unlink()
    backbone = loaded(base)
    found, mask = backbone.codec.texts(["turn left", ""], torch.device("cpu"))
    pipeline = SanaWMPipeline(tokenizer, encoder, backbone.vae, backbone.network, None)
    with torch.no_grad():
        told, counts, none, none_counts = pipeline.encode_prompt(
            "turn left", "", device=torch.device("cpu"), chi_prompt=DEFAULT_CHI_PROMPT
        )
    assert found.shape == (2, 300, 32)
    torch.testing.assert_close(found[:1], told[:, 0])
    torch.testing.assert_close(found[1:, : mask[1].sum().int()], none[:, 0, : none_counts.sum()])
    assert torch.equal(mask, torch.cat([counts, none_counts]).float())
