"""Recipes and checkpoints broken at random: one line and exit status 2, or a run that works.

Training itself is left out; all that comes before it is real. `make fuzz` tries four times as many.
"""

import contextlib
import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightning import Trainer

from egowm.commands import main as cli
from egowm.commands.work.fit import FitCLI
from egowm.training.checkpoints import CheckpointError, read_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
TIMES = int(os.environ.get("EGOWM_FUZZ_TIMES", "1"))
OFTEN = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # a failure is not made smaller: each run takes a second
    database=None,
)
WORDS = st.text("ab-/.{[:=~%é 0", max_size=6)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 9), st.floats(), WORDS)
JUNK = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(WORDS, SCALARS, max_size=2)
)
CLASSES = ("egowm.data.Clip", "torch.nn.Linear", "os.path", "nope.Nope", "egowm.backbones.SVD", "")
OPTIONS = (
    "--data.window.horizon",
    "--data.batch_size",
    "--data.num_frames",
    "--model.learning_rate",
    "--model.train",
    "--model.lora_rank",
    "--model.compile",
    "--model.optimizer",
    "--model.backbone.vae_batch",
    "--trainer.max_steps",
    "--trainer.precision",
    "--trainer.devices",
    "--trainer.accelerator",
    "--save_every",
    "--guard_patience",
    "--pictures_every",
    "--ckpt_path",
    "--nothing",
)


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """An empty working directory, one parser for all runs, and no training."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    whole, made = FitCLI.setup_parser, {}

    def setup_parser(self, *arguments: Any) -> None:
        if not made:
            before = set(vars(self))
            whole(self, *arguments)
            made.update({name: x for name, x in vars(self).items() if name not in before})
        vars(self).update(made)

    monkeypatch.setattr(FitCLI, "setup_parser", setup_parser)
    monkeypatch.setattr(Trainer, "_run_stage", lambda self: None)


@pytest.fixture
def no_set_up(monkeypatch):
    """Objects are built, and that is all."""
    monkeypatch.setattr(FitCLI, "_run_subcommand", lambda self, subcommand: None)


def checked(arguments: list[str], root: Path, capsys) -> None:
    """Run it: a clean end, or one line that says something, and a record that tells of it."""
    status = cli.main(arguments)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("egowm: ")]
    assert status in (0, 2)
    assert len(lines) == (status == 2), err
    if status == 2:
        assert len(lines[0]) > 25
        assert "usage:" not in err
    assert not list(root.rglob("*.unfinished"))
    assert not list(root.rglob("*.ckpt"))
    for path in root.rglob("run.json"):
        assert json.loads(path.read_text())["exit"].startswith("failed: ") == (status == 2)
        path.unlink()


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """The way to every value of a recipe."""
    if not isinstance(tree, dict):
        return [path]
    found = [path] if path else []
    return found + [place for key, part in tree.items() for place in places(part, (*path, key))]


def broken(recipe: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """One or two values of a recipe replaced, renamed, added or left out."""
    found = copy.deepcopy(recipe)
    for _ in range(data.draw(st.integers(1, 2), "changes")):
        all_places = [p for p in places(found) if p[-1] not in ("root", "default_root_dir")]
        if not all_places:
            break
        *way, key = data.draw(st.sampled_from(all_places), "place")
        inside = found
        for step in way:
            inside = inside[step]
        change = data.draw(st.sampled_from(("replace", "replace", "remove", "add")), "change")
        if change == "remove":
            del inside[key]
        elif change == "add":
            inside[data.draw(WORDS, "name")] = data.draw(JUNK, "value")
        elif key == "class_path":
            inside[key] = data.draw(st.sampled_from(CLASSES), "class")
        else:
            inside[key] = data.draw(JUNK, "value")
    return found


@pytest.mark.long
def test_broken_recipes(recipe, quick, no_set_up, tmp_path, capsys):
    """50 of them, up to the objects that they name."""
    whole, path = yaml.safe_load(recipe.read_text()), tmp_path / "broken.yaml"

    @settings(OFTEN, max_examples=50 * TIMES)
    @given(st.data())
    def run(data) -> None:
        path.write_text(yaml.safe_dump(broken(whole, data)))
        checked(["fit", "-c", str(path)], tmp_path / "run", capsys)

    run()


@pytest.mark.long
def test_broken_recipes_that_are_built(recipe, quick, tmp_path, capsys):
    """10 of them with all that comes before the first step: data, weights, optimizer."""
    whole, path = yaml.safe_load(recipe.read_text()), tmp_path / "broken.yaml"

    @settings(OFTEN, max_examples=10 * TIMES)
    @given(st.data())
    def run(data) -> None:
        path.write_text(yaml.safe_dump(broken(whole, data)))
        checked(["fit", "-c", str(path)], tmp_path / "run", capsys)

    run()


@pytest.mark.long
def test_broken_command_lines(recipe, quick, no_set_up, tmp_path, capsys):
    """25 of them: options with values that were not meant for them."""

    @settings(OFTEN, max_examples=25 * TIMES)
    @given(st.sampled_from(OPTIONS), SCALARS)
    def run(option, value) -> None:
        words = [f"{option}={value}"]
        checked(["fit", *words, "-c", str(recipe)], tmp_path / "run", capsys)

    run()


@pytest.mark.long
def test_texts_that_are_no_recipe(quick, no_set_up, tmp_path, capsys):
    """25 of them, for every verb that takes one."""
    path = tmp_path / "broken.yaml"

    @settings(OFTEN, max_examples=25 * TIMES)
    @given(st.one_of(st.text(max_size=30), st.binary(max_size=30)), st.sampled_from((0, 1)))
    def run(text, verb) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        checked([("fit", "memory")[verb], "-c", str(path)], tmp_path / "run", capsys)

    run()


def test_damaged_checkpoints_are_refused(tmp_path):
    """200 files, cut or written over: refused, or what was saved."""
    good, path = tmp_path / "good.pt", tmp_path / "step=1.ckpt"
    torch.save({"state_dict": {"a": torch.arange(2000.0)}, "global_step": 3}, good)
    content, outcomes = good.read_bytes(), {True: 0, False: 0}

    @settings(OFTEN, max_examples=200)
    @given(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=40), st.booleans())
    def run(place, noise, cut) -> None:
        after = b"" if cut else content[place + len(noise) :]
        damaged = content[:place] + noise + after
        path.write_bytes(damaged)
        found = None
        with contextlib.suppress(CheckpointError):
            found = read_checkpoint(path)
        outcomes[found is None] += 1
        if found is not None:  # bytes between the records, which nobody reads
            assert torch.equal(found["state_dict"]["a"], torch.arange(2000.0))
            assert found["global_step"] == 3

    run()
    assert outcomes[True] > 100


@pytest.mark.long
@pytest.mark.parametrize(
    "content", [{}, {"state_dict": {}}, [1, 2], torch.zeros(3), "text", {"global_step": 1}]
)
def test_what_is_no_checkpoint_of_a_run(recipe, quick, tmp_path, capsys, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    assert cli.main(["fit", "-c", str(recipe), "--ckpt_path", str(path)]) == 2
    [line] = [x for x in capsys.readouterr().err.splitlines() if x.startswith("egowm: ")]
    assert f"{path}: expected a checkpoint of `egowm fit`" in line
    assert "failed: " in json.loads((tmp_path / "run/run.json").read_text())["exit"]
