"""Exports: what comes back is what was saved, whole or not at all, and nothing in it is run."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from egowm import export
from egowm.actions.humanoid_states import NAMES
from egowm.backbones import SVD
from egowm.checksums import sum_of
from egowm.commands.main import explain
from egowm.shipped import world_models
from egowm.world_model import WorldModel


@pytest.fixture
def folder(obedient, tmp_path) -> Path:
    """An export of `obedient`."""
    obedient.save_pretrained(tmp_path / "export")
    return tmp_path / "export"


def imagine(model: WorldModel) -> torch.Tensor:
    context = torch.rand(1, 1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    actions = torch.linspace(-0.1, 0.1, 18).reshape(1, 6, 3)  # more than one chunk
    return model.rollout(context, actions, generator=torch.Generator().manual_seed(0)).frames


def assert_equal(loaded: WorldModel, saved: WorldModel) -> None:
    """Weights to the bit; videos as closely as memory alignment lets the same kernels agree."""
    weights = saved.state_dict()
    assert loaded.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())
    torch.testing.assert_close(imagine(loaded), imagine(saved), atol=1e-4, rtol=0)


def edit(folder: Path, **changes) -> None:
    path = folder / "world_model.json"
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not ...}))


def test_round_trip(obedient, folder):
    loaded = WorldModel.from_pretrained(folder)
    assert_equal(loaded, obedient)
    assert (loaded.spec, loaded.chunk, loaded.steps) == (obedient.spec, 4, 3)
    assert not loaded.training
    assert {p.name for p in folder.iterdir()} == {
        "weights.safetensors",
        "world_model.json",
        "README.md",
    }


def test_it_has_the_metadata_of_a_checkpoint(obedient, folder):
    checkpoint = {"state_dict": obedient.state_dict()}
    obedient.on_save_checkpoint(checkpoint)
    saved = json.loads(json.dumps(checkpoint["egowm"]))
    record = json.loads((folder / "world_model.json").read_text())
    assert saved["spec"]["names"] == ["dx", "dy", "dyaw"]
    # an export says it among the backbone's arguments, a checkpoint has none
    assert (
        saved.pop("predicts") == record["backbone_arguments"].get("predicts", "frames") == "frames"
    )
    assert {name: record[name] for name in saved} == saved
    own = {"format", "backbone", "backbone_arguments", "weights_sha256"}
    assert record.keys() - saved.keys() == own


@pytest.mark.long
def test_arguments_of_the_backbone_come_back(tiny_prior, spec, tmp_path):
    shutil.copytree(tiny_prior / "vae", tmp_path / "vae")
    backbone = SVD(
        str(tiny_prior),
        vae_folder=str(tmp_path / "vae"),
        random=["unet"],
        fps=11,
        motion_bucket=40,
        noise_strength=0.3,
    )
    model = WorldModel(backbone, features="linear", zero_init=False, steps=2, chunk=5, spec=spec)
    model.configure_model()
    model.save_pretrained(str(tmp_path / "export"))
    loaded = WorldModel.from_pretrained(str(tmp_path / "export"))
    found = loaded.backbone
    assert (found.fps, found.motion_bucket, found.noise_strength) == (11, 40, 0.3)
    assert found.random == ()  # the weights are in the export: nothing is random any more
    assert_equal(loaded, model)
    weights = tmp_path / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ValueError, match="belongs to another base"):
        WorldModel.from_pretrained(tmp_path / "export")


def test_the_card_says_what_it_is(folder, tiny_prior):
    card = (folder / "README.md").read_text()
    assert f"Base: `{tiny_prior}` (sha256 `" in card
    assert "| dyaw | rad | -0.1 | 0.1 |" in card
    assert "Frames: 4 at once, 4 Hz. Sampling steps: 3." in card


def test_float16_halves_the_file(obedient, folder, tmp_path):
    export.save(obedient, tmp_path / "half", torch.float16)
    sizes = [(f / "weights.safetensors").stat().st_size for f in (folder, tmp_path / "half")]
    assert sizes[1] < 0.52 * sizes[0]
    loaded = WorldModel.from_pretrained(tmp_path / "half")
    assert loaded.dtype == next(loaded.backbone.network.parameters()).dtype == torch.float32
    difference = (imagine(loaded) - imagine(obedient)).abs()
    assert 0 < difference.mean() < 5e-3


@pytest.mark.long
def test_another_base_is_refused(folder, tiny_prior, tmp_path):
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(tiny_prior, moved)
    assert WorldModel.from_pretrained(folder, base=str(moved)).backbone.folder == moved
    shutil.copytree(tiny_prior, other)
    weights = other / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ValueError, match=r"belongs to another base than .*other: expected weights"):
        WorldModel.from_pretrained(folder, base=str(other))
    with pytest.raises(FileNotFoundError, match="Expected a diffusers pipeline folder"):
        WorldModel.from_pretrained(folder, base=str(tmp_path / "none"))


@pytest.mark.parametrize(
    "name", ["strange_module.Backdoor", "os.system", "egowm.backbones.base.Backbone"]
)
def test_an_unknown_class_is_refused_and_nothing_is_imported(folder, name, tmp_path, monkeypatch):
    (tmp_path / "strange_module.py").write_text("raise SystemExit('this code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    edit(folder, backbone=name)
    with pytest.raises(ValueError, match=f"{name} is not a known backbone: import its class"):
        WorldModel.from_pretrained(folder)
    assert "strange_module" not in sys.modules


def test_a_subclass_that_the_caller_imported_is_known(obedient, tiny_prior, tmp_path):
    class Mine(SVD):
        """A user's own backbone."""

    obedient.backbone.__class__ = Mine
    obedient.save_pretrained(tmp_path / "export")
    assert type(WorldModel.from_pretrained(tmp_path / "export").backbone) is Mine


def test_nothing_to_load(tmp_path):
    words = r"Expected an export \(world_model.json\) in .*none, found none: give the folder"
    with pytest.raises(FileNotFoundError, match=words):
        WorldModel.from_pretrained(tmp_path / "none")


@pytest.mark.parametrize(("name", "first"), [("rooms", ["dx", "dy", "dyaw"]), ("humanoid", NAMES)])
def test_a_shipped_model_by_its_name(name, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = WorldModel.from_pretrained(name)
    record = json.loads((world_models()[name] / "world_model.json").read_text())
    assert (model.spec.names, model.steps) == (tuple(first), record["steps"])
    assert model.backbone.base_sha256 == record["base_sha256"]


@pytest.mark.long
def test_a_folder_goes_before_a_shipped_model_of_its_name(folder, obedient, monkeypatch):
    folder.rename(folder.with_name("rooms"))
    monkeypatch.chdir(folder.parent)
    assert_equal(WorldModel.from_pretrained("rooms"), obedient)


@pytest.mark.parametrize("there", [False, True])
def test_an_unknown_name_lists_the_shipped_ones(there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / "kitchens").mkdir()
    words = r"in kitchens, found none: .* a shipped model \(humanoid, rooms\)\.$"
    with pytest.raises(FileNotFoundError, match=words):
        WorldModel.from_pretrained("kitchens")


def test_another_format_is_refused(folder):
    edit(folder, format=7)
    with pytest.raises(ValueError, match="expected format 1, got 7"):
        WorldModel.from_pretrained(folder)


def test_damaged_files_are_named(folder):
    weights = folder / "weights.safetensors"
    whole = weights.read_bytes()
    flipped = bytearray(whole)
    flipped[-1000] ^= 4
    for damaged in (whole[:-100], b"", bytes(flipped)):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"weights.safetensors cannot be read \(.*sha256 "):
            WorldModel.from_pretrained(folder)
    weights.write_bytes(whole)
    (folder / "world_model.json").write_text("{")
    with pytest.raises(ValueError, match=r"world_model\.json: expected .*copy the export again"):
        WorldModel.from_pretrained(folder)


ARGUMENTS = "backbone_arguments"
SPEC = {"names": ["x"], "units": ["m"], "frame": "body", "kind": "difference", "rate_hz": 4.0}


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": None}, "backbone: expected a text, got None"),
        ({ARGUMENTS: []}, "backbone_arguments: expected a mapping"),
        ({ARGUMENTS: {}}, "SVD: missing a required argument: 'pretrained'"),
        ({ARGUMENTS: {"pretrained": {}}}, "SVD: pretrained cannot be {}"),
        ({ARGUMENTS: {"pretrained": ".", "speed": 1}}, "unexpected keyword argument 'speed'"),
        ({ARGUMENTS: {"pretrained": ".", "fps": "7"}}, "SVD: fps cannot be '7'"),
        ({ARGUMENTS: {"pretrained": ".", "fps": True}}, "SVD: fps cannot be True"),
        ({ARGUMENTS: {"pretrained": ".", "random": ["vae"]}}, r"random cannot be \['vae'\]"),
        ({ARGUMENTS: {"pretrained": ".", "start": "os.system"}}, "start cannot be 'os.system'"),
        ({"base_sha256": 3}, "base_sha256: expected a text or null, got 3"),
        ({"base_sha256": ...}, "base_sha256: missing"),
        ({"spec": None}, "spec: expected a mapping, got None"),
        ({"spec": SPEC | {"kind": "se4"}}, "kind se2, se3, command or difference, got 'se4'"),
        ({"spec": SPEC | {"rate_hz": -1}}, "a rate above 0 Hz, got -1"),
        ({"spec": SPEC | {"rate_hz": float("nan")}}, "spec.rate_hz: expected a number"),
        ({"spec": SPEC | {"loy": [1.0]}}, "unexpected keyword argument 'loy'"),
        ({"spec": SPEC | {"units": []}}, "1 name but 0 units"),
        ({"specs": {"a": {}}}, "specs.a.frame: missing"),
        ({"features": "sines"}, "features cannot be 'sines'"),
        ({"alignment": "left"}, "alignment cannot be 'left'"),
        ({"chunk": 10**12}, "chunk from 1 to 10000, got 1000000000000"),
        ({"chunk": 0}, "chunk from 1 to 10000, got 0"),
        ({"steps": "x"}, "steps: expected a whole number, got 'x'"),
        ({"drop_action": 3.0}, "drop_action, a share of samples"),
        ({"drop_action": 0.5}, r"weights.safetensors .*Missing key\(s\) \['null_embedding'\]"),
    ],
)
def test_a_record_that_no_save_wrote(changes, words, folder, capsys):
    edit(folder, **changes)
    with pytest.raises(ValueError, match=words) as caught:
        WorldModel.from_pretrained(folder)
    line = explain(caught.value)
    assert line is not None
    assert line.startswith(str(folder))


def test_an_export_without_a_checksum_is_still_read(folder, obedient):
    edit(folder, weights_sha256=...)
    assert_equal(WorldModel.from_pretrained(folder), obedient)


def test_other_weights_are_refused(folder):
    from safetensors.torch import load_file, save_file

    edit(folder, weights_sha256=...)
    weights = load_file(folder / "weights.safetensors")
    weights.pop("action_embedding.linear_1.weight")
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(ValueError, match=r"Missing key\(s\).*linear_1.weight"):
        WorldModel.from_pretrained(folder)


BROKEN = "backbone.network.conv_in.weight", "action_embedding.linear_1.bias"


@pytest.mark.parametrize(
    ("name", "value"), [(BROKEN[0], torch.nan), (BROKEN[1], torch.inf), (BROKEN[1], -torch.inf)]
)
def test_weights_that_are_no_numbers_are_not_saved(name, value, obedient, folder):
    """As a training that went astray leaves them; what was there stays."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    weight = obedient.state_dict()[name]
    weight.flatten()[2:5] = value
    assert weight.flatten()[3].isnan() or weight.flatten()[3].isinf()
    words = rf"of {weight.numel()} values in {name.removeprefix('backbone.')}, NaN or infinite: 3"
    with pytest.raises(ValueError, match=f"^Nothing was written: {words}.*earlier checkpoint"):
        obedient.save_pretrained(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["network.conv_in.weight", "action_embedding.linear_1.bias"])
def test_an_export_with_weights_that_are_no_numbers_is_refused(name, folder):
    """Older versions wrote them, with a checksum that fits."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "weights.safetensors")
    weights[name].flatten()[0] = float("nan")
    weights["network.conv_out.bias"][:] = float("inf")
    save_file(weights, folder / "weights.safetensors")
    edit(folder, weights_sha256=sum_of(folder / "weights.safetensors"))
    with pytest.raises(ValueError, match=r"weights\.safetensors: .* NaN or infinite") as caught:
        WorldModel.from_pretrained(folder)
    line = explain(caught.value)
    assert f"of {weights[name].numel()} values in {name}, NaN or infinite: 1" in line
    assert "(so are some of 1 more tensor)" in line
    assert "Export an earlier checkpoint." in line
    assert "copy it again" not in line


@pytest.mark.long
@pytest.mark.parametrize("name", BROKEN)
def test_weights_beyond_float16_are_saved_without_rounding_only(name, obedient, tmp_path):
    """Its largest number is 65504; 65519 is still rounded to it, 65520 no more."""
    weight = obedient.state_dict()[name].flatten()
    weight[1] = -65519.0
    export.save(obedient, tmp_path / "half", torch.float16)
    weight[1] = -70000.0
    own = name.removeprefix("backbone.")
    words = rf"float16 cannot hold {own}, whose largest value is 70000.*no --half"
    with pytest.raises(ValueError, match=words):
        export.save(obedient, tmp_path / "other", torch.float16)
    assert [p.name for p in tmp_path.iterdir()] == ["half"]
    obedient.save_pretrained(tmp_path / "whole")
    loaded = WorldModel.from_pretrained(tmp_path / "whole")
    assert loaded.state_dict()[name].flatten()[1] == -70000
    assert WorldModel.from_pretrained(tmp_path / "half").state_dict()[name].min() == -65504


def test_nothing_half_written(obedient, folder, tmp_path, monkeypatch):
    """A save that fails leaves the folder beside it, and an older export, as they were."""
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(weights, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(export, "save_file", fail)
    for target in (tmp_path / "new", folder):
        with pytest.raises(OSError, match="No space left"):
            obedient.save_pretrained(target)
    assert [p.name for p in tmp_path.iterdir()] == ["export"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_an_older_export_is_replaced(obedient, folder):
    obedient.steps = 9
    obedient.save_pretrained(folder)
    assert WorldModel.from_pretrained(folder).steps == 9
    assert [p.name for p in folder.parent.iterdir()] == ["export"]
    assert len(list(folder.iterdir())) == 3


def test_what_is_no_export_is_never_replaced(obedient, folder):
    (folder / "notes.txt").write_text("mine")
    obedient.steps = 9
    with pytest.raises(FileExistsError, match=r"notes\.txt, which `egowm export` did not write"):
        obedient.save_pretrained(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert WorldModel.from_pretrained(folder).steps == 3


def test_nothing_to_save(tiny_prior, tmp_path):
    with pytest.raises(ValueError, match="Nothing to save yet"):
        WorldModel(SVD(str(tiny_prior))).save_pretrained(tmp_path / "export")
    assert list(tmp_path.iterdir()) == []
