"""`lightning fit`: what a run leaves and where, resuming it, recipes, and mistakes in one line."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Trainer

from egowm.commands import fit
from egowm.commands import main as cli
from egowm.commands.work.fit import FitCLI, build
from egowm.network.sharding import Sharded

ROOT = Path(__file__).resolve().parent.parent.parent
OVERLAY = ROOT / "recipes/multi_gpu.yaml"  # laid over others
RECIPES = sorted(set((ROOT / "recipes").glob("*.yaml")) - {OVERLAY})
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty working directory, where nothing must appear."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def test_a_run_and_its_continuation(recipe, elsewhere, tmp_path, capsys):
    """It never validates; last.ckpt is there all the same, and nothing lies anywhere else."""
    assert cli.main(["fit", "-c", str(recipe)]) == 0
    run = tmp_path / "run"
    assert {p.name for p in tmp_path.iterdir()} == {"elsewhere", "recipe.yaml", "rooms", "run"}
    assert list(elsewhere.iterdir()) == []
    assert {p.name for p in run.iterdir()} == {"checkpoints", "lightning_logs", "run.json"}
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.ckpt", "step=2.ckpt"}
    assert (run / "lightning_logs/version_0/config.yaml").is_file()

    saved = checkpoint(run)
    assert saved["global_step"] == 2
    parts = {name.split(".")[0] for name in saved["state_dict"]}
    assert parts == {"action_embedding", "backbone"}
    assert all(
        name.startswith(("action_embedding.", "backbone.network.")) for name in saved["state_dict"]
    )
    assert saved["egowm"]["chunk"] == 3
    assert saved["egowm"]["spec"]["names"] == ("dx", "dy", "dyaw")
    assert "hyper_parameters" not in saved

    last, second = str(run / "checkpoints/last.ckpt"), tmp_path / "second"
    more = ["--ckpt_path", last, "--trainer.max_steps", "4"]
    more += ["--trainer.default_root_dir", str(second)]
    assert cli.main(["fit", "-c", str(recipe), *more]) == 0
    assert checkpoint(second)["global_step"] == 4
    assert checkpoint(run)["global_step"] == 2
    moved = [
        not torch.equal(value, saved["state_dict"][name])
        for name, value in checkpoint(second)["state_dict"].items()
    ]
    assert sum(moved) > 0.9 * len(moved)
    assert cli.main(["validate", "-c", str(recipe), "--ckpt_path", last]) == 0
    assert "val/loss" in capsys.readouterr().out
    assert list(elsewhere.iterdir()) == []


@pytest.mark.long
def test_a_run_that_validates_keeps_the_newest(recipe, elsewhere, tmp_path):
    """Saved after each validation, and once more at the end; the two newest are kept."""
    options = ["--trainer.val_check_interval", "2", "--trainer.max_steps", "5"]
    assert cli.main(["fit", "-c", str(recipe), *options]) == 0
    folder = tmp_path / "run/checkpoints"
    assert {p.name for p in folder.iterdir()} == {"last.ckpt", "step=4.ckpt", "step=5.ckpt"}
    assert checkpoint(tmp_path / "run")["global_step"] == 5
    assert cli.main(["fit", "-c", str(recipe)]) == 0  # again, into the same folder
    assert checkpoint(tmp_path / "run")["global_step"] == 2


@pytest.mark.long
def test_no_checkpoints_when_told_so(recipe, elsewhere, tmp_path):
    options = ["--trainer.enable_checkpointing", "false", "--trainer.logger", "false"]
    assert cli.main(["fit", "-c", str(recipe), *options]) == 0
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def parsed(arguments: list[str], capsys) -> dict:
    """The configuration that a command line means; nothing is built or run."""
    with pytest.raises(SystemExit) as stop:
        fit.main(["fit", *arguments, "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.long
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses(path, capsys):
    found = parsed(["-c", str(path)], capsys)
    assert found["trainer"]["default_root_dir"] == f"runs/{path.stem}"
    header = path.read_text().splitlines()[:3]  # what it reproduces, what it costs, what it gave
    assert all(line.startswith("# ") for line in header)


def test_several_gpus(capsys):
    """The overlay changes the trainer's devices and nothing else of the recipe."""
    recipe = str(ROOT / "recipes/recon_wan.yaml")
    plain = parsed(["-c", recipe], capsys)
    found = parsed(["-c", recipe, "-c", str(OVERLAY), "--trainer.num_nodes", "2"], capsys)
    changed = {k: v for k, v in found["trainer"].items() if v != plain["trainer"][k]}
    assert changed == {"strategy": "sharded", "accelerator": "gpu", "num_nodes": 2}
    assert {k: v for k, v in found.items() if k != "trainer"} == {
        k: v for k, v in plain.items() if k != "trainer"
    }
    assert isinstance(Trainer(strategy=found["trainer"]["strategy"]).strategy, Sharded)


def test_what_a_user_points_elsewhere(recipe, capsys):
    """`--data.root PATH` and `--model.backbone.pretrained PATH_OR_ID`, spelt just so."""
    options = ["--data.root", "/a/b", "--model.backbone.pretrained", "someone/model"]
    found = parsed(["-c", str(recipe), *options], capsys)
    assert found["data"]["init_args"]["root"] == "/a/b"
    assert found["data"]["class_path"] == "egowm.data.Rooms"
    backbone = found["model"]["init_args"]["backbone"]
    assert backbone["init_args"]["pretrained"] == "someone/model"
    kept = yaml.safe_load(recipe.read_text())["model"]["init_args"]
    assert found["model"]["init_args"]["steps"] == kept["steps"] == 2


def test_options_before_the_recipe_count(recipe, capsys):
    """Recipes come first, in their order; each option may stand on either side."""
    options = ["--trainer.max_steps", "9", "-c", str(recipe), "--data.batch_size", "3"]
    found = parsed(options, capsys)
    assert found["trainer"]["max_steps"] == 9
    assert found["data"]["init_args"]["batch_size"] == 3
    assert fit.recipes_first(["fit", "--a", "1", "--config=x", "--b", "-c", "y", "--config"]) == [
        *("fit", "--config=x", "-c", "y", "--config"),
        *("--a", "1", "--b"),
    ]


def test_a_run_that_was_refused_leaves_the_folder_as_it_was(recipe, elsewhere, tmp_path):
    wrong = ["--data.window.height", "-1"]
    fresh = ["--trainer.default_root_dir", str(tmp_path / "new")]
    assert cli.main(["fit", "-c", str(recipe), *wrong, *fresh]) == 2
    assert not (tmp_path / "new").exists()
    kept = tmp_path / "old/run.json"
    kept.parent.mkdir()
    kept.write_text('{\n  "command": "egowm fit of yesterday"\n}\n')
    known = ["--trainer.default_root_dir", str(kept.parent)]
    assert cli.main(["fit", "-c", str(recipe), *wrong, *known]) == 2
    assert "yesterday" in kept.read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.rot", "/x"], "Option 'rot' is not accepted. Did you mean root?"),
        (["--model.backbone.fpss", "4"], "Option 'fpss' is not accepted. Did you mean fps?"),
        (["--trainer.max_stpes", "1"], "Did you mean --trainer.max_steps?"),
        (
            ["--data.batch_size", "many"],
            "\"batch_size\": Expected a <class 'int'>. Got value: many",
        ),
        (["--trainer.max_steps", "many"], '"trainer.max_steps": Expected a'),
        (["--data.window.height", "-1"], "A window's sizes are positive numbers"),
        (
            ["--data.window.horizon", "30"],
            "a window needs 31 frames, got 2 episodes, the longest of 8",
        ),
        (["--data.window.height", "20"], "multiples of 8, got 20x16: set the window's height"),
        (
            ["--model.backbone.pretrained", "./none"],
            "Expected a diffusers pipeline folder at ./none",
        ),
        (["--model.backbone.pretrained", "no/model"], "no/model is neither a folder nor in the"),
        (["--ckpt_path", "/none/last.ckpt"], "last.ckpt"),
        (["--nothing", "1"], "unrecognized arguments: --nothing"),
    ],
)
def test_a_mistake_is_one_line(recipe, elsewhere, options, words, capsys):
    assert cli.main(["fit", "-c", str(recipe), *options]) == 2
    err = capsys.readouterr().err
    [line] = [row for row in err.splitlines() if row.startswith("egowm: ")]
    assert words in line
    assert "usage:" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("lerobot", ["true", "false"])
def test_predict_is_one_process(recipe, elsewhere, tmp_path, lerobot, capsys):
    """Two would each write the whole folder, and the one that ends last would stay."""
    words = ["predict", "-c", str(recipe), "--ckpt_path", "a.ckpt", "--lerobot", lerobot]
    two = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    assert cli.main([*words, *two]) == 2
    told = [row for row in capsys.readouterr().err.splitlines() if row.startswith("egowm: ")]
    assert told == [
        "egowm: predict: expected one process, since one folder takes all clips, got 2: give "
        "--trainer.devices 1, or share the clips out, egowm eval --launch local:2."
    ]
    assert not list(elsewhere.iterdir())
    assert not (tmp_path / "run").exists()


def test_predict_takes_one_of_several_devices(recipe, elsewhere, monkeypatch):
    """Where nobody said how many; a fit takes all of them."""
    from lightning.pytorch.accelerators import CPUAccelerator

    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 3))
    monkeypatch.setattr(FitCLI, "_run_subcommand", lambda cli, name: None)
    chosen = ["--trainer.accelerator", "cpu", "--trainer.devices", "auto"]
    found = build(["predict", "-c", str(recipe), "--ckpt_path", "a.ckpt", *chosen])
    assert found.trainer.world_size == 1
    assert build(["fit", "-c", str(recipe), *chosen]).trainer.world_size == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit"], "fit: give a recipe, -c recipes/NAME.yaml"),
        (["fit", "-c", "none.yaml"], "No recipe at none.yaml"),
        (["fit", "--model", "egowm.WorldModel"], "Give a recipe: -c recipes/NAME.yaml"),
    ],
)
def test_a_missing_recipe_is_one_line(elsewhere, arguments, words, capsys):
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("egowm: ")
    assert words in err


@pytest.mark.parametrize(
    "words",
    [
        ["--optimizer.help", "torch.optim.AdamW"],
        ["--model.class_path", "egowm.WorldModel"],
        ["-ca.yaml"],
        ["--conf", "a.yaml"],
        ["--help"],
    ],
)
def test_what_needs_no_recipe_or_names_one_in_other_ways(words):
    fit.refuse_without_recipe(["fit", *words])
    with pytest.raises(ValueError, match="fit: give a recipe"):
        fit.refuse_without_recipe(["fit", "--ckpt_path", "last"])


def test_a_class_that_is_not_there(recipe, elsewhere, capsys):
    text = recipe.read_text().replace("egowm.data.Rooms", "egowm.data.Halls")
    recipe.write_text(text)
    assert cli.main(["fit", "-c", str(recipe)]) == 2
    line = capsys.readouterr().err
    assert "Problem with given class_path 'egowm.data.Halls'" in line
    assert line.count("\n") == 1


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "usage: egowm [options] fit" in out
    assert "--trainer.max_steps" in out


def test_recipes_are_found():
    assert {"pretrain_rooms_vae", "pretrain_rooms_svd"} <= {path.stem for path in RECIPES}
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # parsing downloads nothing


def test_own_contexts_are_validated_without_a_checkpoint(recipe, capsys):
    """The chunk that they begin with is that of the clips, as in training."""
    own = ["validate", "-c", str(recipe), "--model.own_contexts", "{share: 1.0, deepest: 2}"]
    assert cli.main(own) == 0
    assert "val/loss" in capsys.readouterr().out
    assert cli.main([*own, "--data.window.horizon", "4"]) == 2
    assert "--data.window.horizon to a multiple of 3" in capsys.readouterr().err
