"""`egowm plan --picture A --goal B`: from one picture to another, with any export."""

import csv
import json
import sys
from argparse import Namespace
from functools import partial

import numpy as np
import pytest
import torch

from egowm.commands import main as cli
from egowm.commands.work import plan as work
from egowm.evaluation.picture_plan import plan_between
from egowm.files import FolderKind
from egowm.pixels import to_uint8
from egowm.planning import Space, random_shooting
from egowm.sampling import Sampling
from egowm.video import read_frames, write_image

RNG = np.random.default_rng(0)
START = RNG.integers(0, 255, (16, 16, 3), np.uint8)


def test_the_plan_leads_nearest_to_what_the_model_imagines(obedient):
    """The goal is what the model imagines of some actions: of all samples none comes nearer than
    the plan, whose frames are those of a rollout with its noise."""
    context = torch.from_numpy(START.transpose(2, 0, 1).copy())[None, None]
    actions = torch.tensor([[0.3, 0.0, 0.1]] * 4)
    noise = torch.Generator().manual_seed(0)
    goal = to_uint8(
        obedient.rollout(context, actions, Sampling(steps=1), generator=noise).frames[0]
    )
    planner = partial(random_shooting, samples=8, iterations=1)
    found = plan_between(obedient, START, goal[-1], planner, Sampling(steps=1), horizon=4)
    assert found.plan.actions.shape == (4, 3)
    assert found.imagined.shape == (5, 16, 16, 3)
    assert np.array_equal(found.imagined[0], START)
    error = np.square(START.astype(float) - goal[-1]).mean()
    assert found.before == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    again = torch.Generator().manual_seed(0)
    made = obedient.rollout(context, found.plan.actions, Sampling(steps=1), generator=again)
    assert np.abs(found.imagined[1:].astype(int) - to_uint8(made.frames[0])).max() <= 1
    low, high = np.array(obedient.spec.low), np.array(obedient.spec.high)
    assert (found.plan.actions.numpy() >= low - 1e-6).all()
    assert (found.plan.actions.numpy() <= high + 1e-6).all()
    with pytest.raises(ValueError, match="pictures of one size"):
        plan_between(obedient, START, goal[-1][:8], planner)


@pytest.fixture
def words(obedient, tmp_path) -> list[str]:
    """The verb on two pictures of other sizes."""
    obedient.save_pretrained(tmp_path / "model")
    write_image(tmp_path / "now.png", RNG.integers(0, 255, (30, 20, 3), np.uint8))
    write_image(tmp_path / "there.jpg", RNG.integers(0, 255, (20, 30, 3), np.uint8))
    command = ["plan", "--picture", str(tmp_path / "now.png"), "--goal"]
    command += [str(tmp_path / "there.jpg"), "--model", str(tmp_path / "model")]
    command += ["--output", str(tmp_path / "out"), "--size", "16", "16"]
    return [*command, "--candidates", "3", "--rounds", "1", "--horizon", "4", "--steps", "1"]


@pytest.mark.long
def test_the_verb(words, tmp_path, capsys):
    assert cli.main(words) == 0
    out, said = tmp_path / "out", capsys.readouterr().out.splitlines()
    names = {path.name for path in out.iterdir()}
    assert names == {"plan.mp4", "plan.webp", "plan.json", "actions.csv"}
    film = read_frames(out / "plan.mp4")
    assert film.shape in [(5, 22 + 192 + note, 4 * 192 + 3 * 4, 3) for note in (22, 38)]
    plan = json.loads((out / "plan.json").read_text())
    assert (plan["picture"], plan["goal"]) == ("now.png", "there.jpg")
    rows = list(csv.reader((out / "actions.csv").open()))
    assert rows[0] == ["dx", "dy", "dyaw"]
    np.testing.assert_allclose(np.array(rows[1:], float), plan["actions"], rtol=1e-5)
    assert [line.split(":")[0] for line in said[:4]] == ["0.25 s", "0.50 s", "0.75 s", "1.00 s"]
    assert f"the start {plan['decibels_of_start']:.1f} dB" in said[4]
    trusted = round(plan["decibels_of_end"], 1) > round(plan["decibels_of_start"], 1)
    assert ("do not trust this plan" in said[5]) == (not trusted)
    assert cli.main(words) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert cli.main([*words, "--force"]) == 0
    steps = ["rollout", str(tmp_path / "now.png"), "--model", str(tmp_path / "model"), "--actions"]
    steps += [str(out / "actions.csv"), "--size", "16", "16", "--output", str(tmp_path / "walk")]
    assert cli.main([*steps, "--steps", "1"]) == 0
    walked, imagined = read_frames(tmp_path / "walk/frames"), film[:, 22 : 22 + 192 : 12]
    column = imagined[:, :, 2 * 196 + 6 : 3 * 196 - 4 : 12].astype(int)
    assert np.abs(column[-1] - walked[-1]).mean() < 12  # the film is compressed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rooms", "2"], "--rooms: not with --picture and --goal"),
        (["--stops", "--hidden"], "--stops, --hidden: not with --picture and --goal"),
        (["--state", "1"], "embeds no state"),
        (["--horizon", "0"], "a horizon of at least 1"),
    ],
)
def test_options_that_do_not_fit(words, more, message, tmp_path, capsys):
    assert cli.main([*words, *more]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_one_picture_is_not_enough(tmp_path, capsys):
    command = ["plan", "--output", str(tmp_path / "out")]
    assert cli.main([*command, "--goal", "there.png"]) == 2
    assert "takes both --picture and --goal" in capsys.readouterr().err
    assert cli.main([*command, "--text", "a hall"]) == 2
    assert "--text: not in the rooms" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["icem", "cem", "mppi", "random"])
def test_a_search_shows_a_bar_to_who_looks_on(name, monkeypatch, capsys):
    given = []
    monkeypatch.setattr(work, "plan_pictures", lambda *found: given.append(found[2]) or 0)
    words = {"planner": name, "candidates": 4, "rounds": 2, "steps": 1, "chain": "latents_only"}
    args = Namespace(picture="a.png", dtype=None, encoder=None, by="pixels", **words)
    for is_seen in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_seen=is_seen: is_seen, raising=False)
        work.run(args, FolderKind("egowm plan", ""))
        space = Space(torch.zeros(2, 1), 0.5, -torch.ones(1), torch.ones(1))
        plan = given.pop()(lambda actions: actions.square().sum((1, 2)), space)
        assert plan.actions.shape == (2, 1)
        assert ("planning" in capsys.readouterr().err) == is_seen
