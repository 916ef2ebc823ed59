"""`egowm export`: a checkpoint and its recipe become an export with the same weights."""

from pathlib import Path

import pytest
import torch
import yaml

from egowm.commands import main as cli
from egowm.world_model import WorldModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture
def recipe(tiny_prior, tmp_path) -> Path:
    """One step on two rooms of 16x16 pixels."""
    backbone = {"class_path": "egowm.backbones.SVD", "init_args": {"pretrained": str(tiny_prior)}}
    options = {"backbone": backbone, "steps": 2, "warmup": 1}
    rooms = {
        "root": str(tmp_path / "rooms"),
        "window": {"context": 1, "horizon": 1, "height": 16, "width": 16},
        "batch_size": 2,
        "episodes_train": 2,
        "episodes_val": 2,
        "episodes_test": 1,
        "num_frames": 6,
    }
    trainer = {
        "default_root_dir": str(tmp_path / "run"),
        "accelerator": "cpu",
        "max_steps": 1,
        "limit_val_batches": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    text = {
        "model": {"class_path": "egowm.WorldModel", "init_args": options},
        "data": {"class_path": "egowm.data.Rooms", "init_args": rooms},
        "trainer": trainer,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


def test_checkpoint_to_export(recipe, tmp_path, capsys):
    assert cli.main(["fit", "-c", str(recipe)]) == 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    command = ["export", "-c", str(recipe), "--ckpt_path", str(last), "--half"]
    assert cli.main([*command, "--output", str(tmp_path / "export")]) == 0
    saved = torch.load(last, weights_only=True)["state_dict"]
    model = WorldModel.from_pretrained(tmp_path / "export")
    own = model.state_dict()
    assert all(torch.equal(own[k], v.half().float()) for k, v in saved.items())
    assert model.chunk == 1

    pipeline = ["--as", "diffusers", "--output", str(tmp_path / "pipeline")]
    assert cli.main([*command, *pipeline]) == 0
    whole = WorldModel.from_pretrained(tmp_path / "pipeline")
    assert whole.backbone.folder == tmp_path / "pipeline"
    assert all(torch.equal(weight, own[k]) for k, weight in whole.state_dict().items())

    content = yaml.safe_load(recipe.read_text())
    backbone = content["model"]["init_args"]["backbone"]["init_args"]
    base, backbone["pretrained"] = backbone["pretrained"], "./of/another/training"
    recipe.write_text(yaml.safe_dump(content))
    named = ["--model.backbone.pretrained", base, "--output", str(tmp_path / "of a base")]
    assert cli.main([*command, *named]) == 0
    again = (tmp_path / "of a base/weights.safetensors").read_bytes()
    assert again == (tmp_path / "export/weights.safetensors").read_bytes()


NOWHERE = {"root": "no/such/folder", "window": {"horizon": 1, "height": 16, "width": 16}}
WITHOUT = {  # what can be said of the data where there is nothing to validate on
    "no data": None,
    "no episodes": {"class_path": "egowm.data.Rooms", "init_args": {"episodes_val": 0}},
    "too short": {"class_path": "egowm.data.Rooms", "init_args": {"window": {"horizon": 40}}},
    "recordings elsewhere": {"class_path": "egowm.data.VideoCSV", "init_args": NOWHERE},
}


@pytest.mark.long
def test_an_export_needs_no_validation_clips(recipe, tmp_path):
    """The weights and the meaning of actions are the checkpoint's."""
    assert cli.main(["fit", "-c", str(recipe)]) == 0
    last, content = tmp_path / "run/checkpoints/last.ckpt", yaml.safe_load(recipe.read_text())
    weights, rooms = torch.load(last, weights_only=True)["state_dict"], content.pop("data")
    for name, data in WITHOUT.items():
        if data is not None:
            before = rooms["init_args"] if data["class_path"] == rooms["class_path"] else {}
            content["data"] = data | {"init_args": before | data["init_args"]}
        recipe.write_text(yaml.safe_dump(content))
        command = ["export", "-c", str(recipe), "--ckpt_path", str(last)]
        assert cli.main([*command, "--output", str(tmp_path / name)]) == 0
        own = WorldModel.from_pretrained(tmp_path / name).state_dict()
        assert all(torch.equal(own[k], v) for k, v in weights.items())


def test_a_policy_is_no_pipeline(recipe, tmp_path, capsys):
    content = yaml.safe_load(recipe.read_text())
    content["model"] = {"class_path": "egowm.policies.BehaviourCloning", "init_args": {"size": 16}}
    recipe.write_text(yaml.safe_dump(content))
    command = ["export", "-c", str(recipe), "--ckpt_path", "none.ckpt", "--as", "diffusers"]
    assert cli.main([*command, "--output", str(tmp_path / "export")]) == 2
    told = "--as diffusers: expected a world model on a pipeline of diffusers, got BehaviourCloning"
    assert told in capsys.readouterr().err


def test_mistakes_are_one_line(recipe, tmp_path, capsys):
    command = ["export", "-c", str(recipe), "--output", str(tmp_path / "export")]
    assert cli.main([*command, "--ckpt_path", str(tmp_path / "none.ckpt")]) == 2
    assert "No checkpoint at" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_settings_of_the_run_are_in_its_own_recipe(recipe, tmp_path, capsys):
    command = ["export", "-c", str(recipe), "--output", str(tmp_path / "export"), "--ckpt_path"]
    with pytest.raises(SystemExit, match="2"):
        cli.main([*command, "last.ckpt", "--model.steps", "3"])
    told = capsys.readouterr().err
    assert "unrecognized arguments: --model.steps 3. This command reads settings from the " in told
    assert "-c RUN/lightning_logs/version_N/config.yaml" in told
    with pytest.raises(SystemExit, match="2"):
        cli.main([*command, "last.ckpt", "--haff"])
    assert "recipe" not in capsys.readouterr().err.partition("unrecognized")[2]
