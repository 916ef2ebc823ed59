"""`egowm demo`: what it trains, compares and says; the whole of it as a slow test."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from egowm.commands import main as cli
from egowm.commands.work import demo, fit
from egowm.data import HumanoidHalls
from egowm.evaluation.roll_out import choose
from egowm.recipe import open_recipe
from egowm.sampling import Sampling
from egowm.shipped import default_model, recipes
from tests.evaluation.records import made_up

BUILD = fit.build


@pytest.fixture
def trained(obedient, monkeypatch) -> list[list[str]]:
    """The command lines that would have been trained."""
    seen: list[list[str]] = []

    def build(arguments):
        seen.append(arguments)
        return SimpleNamespace(model=obedient, trainer=SimpleNamespace(global_step=7))

    monkeypatch.setattr(fit, "build", build)
    return seen


@pytest.fixture
def evaluated(monkeypatch) -> list[Any]:
    """The calls of `evaluate`, which return a made-up record, and the runs that get a page anew."""
    seen: list[Any] = []

    def evaluate(rows, data, output, **options):
        seen.append(SimpleNamespace(rows=rows, data=data, output=output, **options))
        record = made_up(np.full((2, 4), 20.0), labels=[row.label for row in rows])
        for row, made in zip(rows, record["rows"], strict=False):
            made["folder"] = row.folder
        return record

    monkeypatch.setattr(demo, "evaluate", evaluate)
    monkeypatch.setattr(demo, "write_report", lambda run: seen.append(run))
    return seen


@pytest.fixture
def committed(world_model, monkeypatch) -> None:
    """A tiny model in place of those that come along, which may be missing."""
    load = demo.WorldModel.from_pretrained

    def from_pretrained(folder):
        return world_model if folder in (default_model(), "humanoid") else load(folder)

    monkeypatch.setattr(demo.WorldModel, "from_pretrained", from_pretrained)


def parsed(arguments: list[str], capsys) -> dict:
    """The configuration that a command line means."""
    with pytest.raises(SystemExit) as stop:
        BUILD([*arguments, "--print_config"])
    assert stop.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("recipe", ["rooms_svd", "donkeycar_svd"])
def test_train(recipe, trained, obedient, tmp_path, capsys):
    """The recipe with small batches and a time limit; what comes back was exported and loaded."""
    model, steps = demo.train(recipe, tmp_path, "00:00:00:07", ["--trainer.max_steps", "9"])
    assert steps == 7
    found = parsed(trained[0], capsys)
    assert found["data"]["init_args"]["batch_size"] == 8
    assert found["model"]["init_args"]["warmup"] == 20
    trainer = found["trainer"]
    assert (trainer["max_steps"], trainer["limit_val_batches"]) == (9, 0)
    assert trainer["default_root_dir"] == str(tmp_path)
    assert str(trainer["max_time"]) in ("00:00:00:07", "0:00:07")
    kept = yaml.safe_load(recipes()[recipe].read_text())["model"]["init_args"]
    assert found["model"]["init_args"]["steps"] == kept["steps"]
    assert (tmp_path / "export/world_model.json").is_file()
    assert model is not obedient
    exported = obedient.state_dict()
    assert all(torch.equal(value, exported[k]) for k, value in model.state_dict().items())


@pytest.mark.parametrize(("quick", "clips", "limit"), [(True, 2, 10), (False, 12, 105)])
def test_rooms(quick, clips, limit, trained, evaluated, committed, tmp_path, capsys):
    options = ["--quick"] if quick else []
    assert cli.main(["demo", "--output", str(tmp_path / "demo"), *options]) == 0
    call, hands, page = evaluated
    assert [(row.folder, row.actions) for row in hands.rows] == [
        ("pred", "true"),
        ("pred_shuffled", "shuffled"),
    ]
    assert isinstance(hands.data, HumanoidHalls)
    assert hands.data.counts["test"] == hands.clips == clips // 2 + quick
    assert (page, hands.output) == (tmp_path / "demo", tmp_path / "demo/humanoid")
    assert [(row.folder, row.actions) for row in call.rows] == [
        ("pred", "true"),
        ("pred_fresh", "true"),
        ("pred_shuffled", "shuffled"),
    ]
    assert call.rows[0].model is call.rows[2].model
    assert call.rows[0].model is not call.rows[1].model
    assert call.model.startswith("shipped model: SVD from ")
    assert (call.clips, call.horizon, call.output) == (clips, 8, tmp_path / "demo")
    assert call.annotate == call.data.annotation
    assert (
        trained[0][trained[0].index("--trainer.max_time") + 1]
        == f"00:00:{limit // 60:02}:{limit % 60:02}"
    )
    out = capsys.readouterr().out
    assert f"from the prior for {limit} seconds" in out
    assert "trained just now, 7 steps" in out
    assert "The row 'trained just now, 7 steps' is a check that training runs here" in out
    assert "Copy of the first frame" in out
    where, said = out.rstrip().splitlines()[-3::2]
    assert where.endswith(f"Open {tmp_path / 'demo/report.html'} in a browser.")
    assert said == (
        "Told the clip's own actions the model scores PSNR 20.0, told another clip's 20.0: its own "
        "are better on 0 of 2 clips, too few clips to say whether the model follows its actions."
    )


def imagined(model, actions: torch.Tensor) -> torch.Tensor:
    """What a model imagines of made-up clips, from the same noise whatever it is told."""
    first, second = (torch.Generator().manual_seed(seed) for seed in (0, 1))
    context = torch.rand(len(actions), 1, 3, 16, 16, generator=first)
    return model.rollout(context, actions, Sampling(steps=1), generator=second).frames


@pytest.mark.parametrize("ignores", [False, True])
def test_its_last_line_tells_whether_the_model_follows_its_actions(
    ignores, obedient, trained, committed, tmp_path, monkeypatch, capsys
):
    """Six clips as the obedient model sees them; one whose embedding is zero cannot pass."""
    told = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(1)) * 0.2 - 0.1
    truth = imagined(obedient, told)
    if ignores:
        torch.nn.init.zeros_(obedient.action_embedding.linear_2.weight)

    def evaluate(rows, *given, **options):
        record = None
        for row in rows:
            made = imagined(row.model, told if row.actions == "true" else told.roll(1, 0))
            wrong = (made - truth).square().mean((1, 2, 3, 4)).numpy()
            psnr = -10 * np.log10(wrong + 1e-9)
            found = made_up(np.tile(psnr, (4, 1)).T, labels=[row.label])
            found["rows"][0]["folder"] = row.folder
            record = record or found | {"rows": []}
            record["rows"].append(found["rows"][0])
        return record

    monkeypatch.setattr(demo, "evaluate", evaluate)
    monkeypatch.setattr(demo, "write_report", lambda run: None)
    assert cli.main(["demo", "--quick", "--output", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out.rstrip().splitlines()[-1]
    wins, follows = re.search(r"better on (\d) of 6 clips, (.*)\.$", said).groups()
    assert (wins, follows == "so the model follows its actions") == (
        ("0", False) if ignores else ("6", True)
    )


@pytest.mark.long
def test_a_demo_again(trained, evaluated, committed, tmp_path, capsys):
    """Its own folder is replaced with --force, as `make demo` does; nobody else's ever."""
    output = tmp_path / "demo"
    command = ["demo", "--quick", "--output", str(output)]
    assert cli.main(command) == 0
    (output / "training/checkpoints").mkdir()
    (output / "training/checkpoints/step=9.ckpt").write_bytes(b"of the first")
    assert cli.main(command) == 2
    assert "holds what `egowm demo` wrote before: --force" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0
    assert not (output / "training/checkpoints").exists()
    (output / "training/notes.txt").write_text("mine")
    assert cli.main([*command, "--force"]) == 2
    assert "holds training/notes.txt" in capsys.readouterr().err
    assert (len(trained), len(evaluated)) == (2, 6)


def write_tub(root: Path, count: int) -> Path:
    """A tub of `count` grey pictures."""
    (root / "images").mkdir(parents=True)
    records = [
        {
            "_index": k,
            "_timestamp_ms": 50 * k,
            "cam/image_array": f"{k}.jpg",
            "user/angle": 0.0,
            "user/throttle": 0.3,
        }
        for k in range(count)
    ]
    for row in records:
        Image.new("RGB", (16, 12)).save(root / "images" / row["cam/image_array"])
    (root / "catalog_0.catalog").write_text("".join(json.dumps(row) + "\n" for row in records))
    (root / "manifest.json").write_text(json.dumps({"paths": ["catalog_0.catalog"]}) + "\n")
    return root


def test_a_tub_of_ones_own_is_predicted_and_not_scored(trained, evaluated, tmp_path, capsys):
    """The drawings belong to Donkey Car's sample tub, and to no other."""
    tub = write_tub(tmp_path / "tub", 200)
    command = ["demo", "--real", str(tub), "--quick", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    [call] = evaluated
    assert call.annotate is None
    assert call.data.root == str(tub)
    assert (call.tracker, call.clips, call.horizon) == ("flow", 6, 8)
    assert trained[0][trained[0].index("--data.root") + 1] == str(tub)
    assert "No structures are drawn for this tub" in capsys.readouterr().out
    (tmp_path / "out/humanoid").mkdir()
    (tmp_path / "out/humanoid/clips.json").write_text('{"title": ""}')
    assert cli.main([*command, "--force"]) == 0  # a humanoid belongs below the rooms alone
    assert not (tmp_path / "out/humanoid").exists()


@pytest.mark.parametrize(("count", "words"), [(0, "no folder"), (60, "no test clip")])
def test_a_tub_that_cannot_be_used_fails_before_training(count, words, trained, tmp_path, capsys):
    tub = tmp_path / "tub"
    if count:
        write_tub(tub, count)
    assert cli.main(["demo", "--real", str(tub), "--output", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert trained == []
    assert not (tmp_path / "out").exists()


@pytest.mark.real_data
def test_the_sample_tub_has_its_drawings(shared_data):
    data = open_recipe(recipes()["donkeycar_svd"]).data(str(shared_data / "donkeycar_tub"))
    annotate = demo._drawn(data, clips=6, horizon=8)
    names = [clip.name for clip in choose(data.with_horizon(8), 6)]
    assert names == [f"tub_00800_{k:05d}" for k in range(0, 166, 33)]
    for name in names:
        labels = annotate(name)
        assert labels.shape == (64, 64)
        assert np.unique(labels).tolist() == list(range(labels.max() + 1))
        assert labels.max() >= 2


@pytest.mark.long  # CI types the command instead
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::DeprecationWarning:lightning")
def test_the_quick_demo(tmp_path, monkeypatch, capsys):
    """Draws its rooms in a home of its own, trains for 10 seconds, scores and reports."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    output = tmp_path / "demo"
    assert cli.main(["demo", "--quick", "--output", str(output)]) == 0
    assert "<html" in (output / "report.html").read_text()
    described = json.loads((output / "clips.json").read_text())
    assert list(described["variants"]) == ["pred", "pred_fresh", "pred_shuffled"]
    assert len(described["clips"]) == 2
    rows = {row["folder"]: row for row in json.loads((output / "eval.json").read_text())["rows"]}
    own, other = (rows[name]["cells"]["psnr"]["clips"] for name in ("pred", "pred_shuffled"))
    assert np.mean(own) - np.mean(other) > 0.1  # dB; 0 where the model ignores its actions
    for name in ("scs.json", "scs_shuffled.json", "scs_fresh.json"):
        assert 0 <= json.loads((output / name).read_text())["scs"] <= 100
    told = capsys.readouterr().out
    assert " SCS   PSNR   SSIM" in told
    table = told.partition(" SCS   PSNR   SSIM")[2].splitlines()[1:7]
    assert "Told the clip's own actions the model scores SCS" in told.splitlines()[-1]
    assert [line.split("  ")[0] for line in table] == [
        "shipped model",
        re.search(r"trained just now, \d+ steps?", told)[0],
        "shipped model, another clip's actions",
        "Copy of the first frame",
        "Mean frame",
        "Codec ceiling",
    ]
