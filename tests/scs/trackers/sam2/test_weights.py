import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from egowm.commands.scs.main import main
from egowm.scs.trackers.sam2.meta import published, read_architecture, to_meta, to_transformers
from egowm.scs.trackers.sam2.weights import load_weights, write_meta


@pytest.mark.long
def test_round_trip(folder, weights, tmp_path):
    """Folder to Meta's file to folder: the same bytes, and the same configuration."""
    there, back = tmp_path / "tiny.pt", tmp_path / "back"
    assert main(["convert-sam2", str(folder), str(there)]) == 0
    assert main(["convert-sam2", str(there), str(back)]) == 0
    first, last = (load_file(path / "model.safetensors") for path in (folder, back))
    assert first.keys() == last.keys() == weights.tensors.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)
    assert (folder / "config.json").read_text() == (back / "config.json").read_text()
    assert load_weights(there).sha256 == load_weights(folder).sha256 == weights.sha256


def test_meta_names_are_those_of_the_package(weights):
    """The package loads them strictly, and gives them back."""
    from egowm.scs.trackers.sam2.native import build_native

    held = build_native(weights).state_dict()
    again = to_transformers(held)
    assert again.keys() == weights.tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.tensors.items())


@pytest.mark.parametrize(
    "size", ["t", *(pytest.param(size, marks=pytest.mark.long) for size in ("s", "b+", "l"))]
)
@pytest.mark.parametrize("version", ["2", "2.1"])
def test_sizes_of_meta(size, version, monkeypatch):
    """Each published size is recognised by its shapes, and loads into transformers' model."""
    from sam2.build_sam import build_sam2_video_predictor
    from transformers import Sam2VideoModel

    name = "sam2" if version == "2" else "sam2.1"
    linspace = torch.linspace  # its values are read, so it cannot be without data as the rest
    monkeypatch.setattr(torch, "linspace", lambda *a: linspace(*a, device="cpu"))
    with torch.device("meta"):
        config = f"configs/{name}/{name}_hiera_{size}.yaml"
        native = build_sam2_video_predictor(config, device="meta")
    meta = native.state_dict()
    found = read_architecture(meta)
    if version == "2.1":
        known = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
        assert published(known[size]).to_dict() == found.to_dict()
    with torch.device("meta"):
        model = Sam2VideoModel(found)
    tensors, want = to_transformers(meta), model.state_dict()
    assert {k: v.shape for k, v in tensors.items()} == {k: v.shape for k, v in want.items()}
    trunk, backbone = native.image_encoder.trunk, found.vision_config.backbone_config
    assert backbone.global_attention_blocks == list(trunk.global_att_blocks)
    assert backbone.window_size_per_stage == list(trunk.window_spec)
    ends = torch.tensor(backbone.blocks_per_stage).cumsum(0) - 1
    assert ends.tolist() == trunk.stage_ends
    heads = [trunk.blocks[end].attn.num_heads for end in trunk.stage_ends]
    assert backbone.num_attention_heads_per_stage == heads


def test_tracker_needs_weights():
    with pytest.raises(ValueError, match=r"never downloads them.*--tracker flow"):
        load_weights(None)


@pytest.mark.parametrize("name", ["facebook/sam2.1-hiera-tiny", "nothing.pt", "no such thing"])
def test_nothing_is_downloaded(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no such file, folder or repository in the local"):
        load_weights(name)


def test_repository_in_the_local_cache(folder, weights, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(folder, cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", cache.parent)
    assert load_weights("someone/tiny").sha256 == weights.sha256


def test_wrong_files_are_refused(folder, weights, tmp_path):
    path = tmp_path / "wrong.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="without running code"):
        load_weights(path)
    torch.save({"model": {"weight": torch.ones(1)}}, path)
    with pytest.raises(ValueError, match=r"without image_encoder\.trunk\.pos_embed"):
        load_weights(path)
    torch.save(weights.tensors, path)
    with pytest.raises(ValueError, match=r"expected Meta's \{'model': tensors\}"):
        load_weights(path)
    torch.save({"model": to_meta(weights.tensors)}, path)
    with pytest.raises(ValueError, match=r"known size.*got 7 blocks of width 12"):
        load_weights(path)


class _Code:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    path = tmp_path / "code.pt"
    torch.save({"model": _Code()}, path)
    with pytest.raises(ValueError, match="without running code"):
        load_weights(path)
    assert "must not run" not in capsys.readouterr().out


def test_wrong_folders_are_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    name = "no_memory_embedding"
    save_file({k: v for k, v in tensors.items() if k != name}, copy / "model.safetensors")
    with pytest.raises(ValueError, match=f"not these weights: {name} is missing"):
        load_weights(copy)
    save_file(tensors | {"extra": torch.ones(1)}, copy / "model.safetensors")
    with pytest.raises(ValueError, match="extra is not part of the model"):
        load_weights(copy)
    save_file(tensors | {name: torch.ones(1, 1, 2)}, copy / "model.safetensors")
    with pytest.raises(ValueError, match=r"is \(1, 1, 2\), expected \(1, 1, 128\)"):
        load_weights(copy)
    (copy / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(ValueError, match="not readable"):
        load_weights(copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "sam"}))
    with pytest.raises(ValueError, match="expected model_type 'sam2_video', got 'sam'"):
        load_weights(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json not found"):
        load_weights(copy)


def test_converter_refuses(folder, tmp_path, capsys):
    assert main(["convert-sam2", str(folder), str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["convert-sam2", "nothing", str(tmp_path / "x.pt")]) == 2
    assert "no such file, folder or repository" in capsys.readouterr().err


def test_two_unequal_position_matrices_have_no_place_in_meta(weights, tmp_path):
    name = "shared_image_embedding.positional_embedding"
    tensors = weights.tensors | {name: weights.tensors[name] + 1}
    with pytest.raises(ValueError, match="to be equal, as in every SAM 2"):
        write_meta(weights._replace(tensors=tensors), tmp_path / "tiny.pt")
