"""`egowm plan --policy`: it drives alone, or proposes to a world model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from egowm.commands.plan import main
from egowm.evaluation.navigation import make_task
from egowm.evaluation.simulator import Simulator
from egowm.policies import BehaviourCloning, Dreamer
from egowm.policies.agent import PolicyAgent
from egowm.video import read_video


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> str:
    torch.manual_seed(0)
    policy = BehaviourCloning(depth=8, units=16, stop_at=0, spec=Simulator.spec)
    policy.configure_model()
    folder = tmp_path_factory.mktemp("policy") / "export"
    policy.save_pretrained(folder)
    return str(folder)


def test_it_drives_alone(export, tmp_path, capsys):
    assert main(["--policy", export, "--output", str(tmp_path / "out"), "--max_steps", "2"]) == 0
    row = json.loads((tmp_path / "out/plan.json").read_text())[0]
    assert len(row["poses"]) == 3
    assert row["poses"][2] != row["poses"][0]
    assert "room_0.mp4" in capsys.readouterr().out
    assert len(read_video(tmp_path / "out/room_0.mp4", range(3))) == 3


def test_it_keeps_within_the_robots_ranges(tmp_path):
    wild = replace(Simulator.spec, low=(-3.0, 0.0, -2.0), high=(3.0, 0.0, 2.0))
    policy = BehaviourCloning(depth=8, units=16, size=8, stop_at=0, spec=wild)
    policy.configure_model()
    agent, task = PolicyAgent(policy, seed=1), make_task(0)
    agent.begin(task, np.zeros((8, 8, 3), np.uint8))
    acted = np.stack([agent.act(np.zeros((8, 8, 3), np.uint8)) for _ in range(20)])
    assert acted.min(0) == pytest.approx([0.0, 0.0, -np.radians(6)])
    assert acted.max(0) == pytest.approx([0.3, 0.0, np.radians(6)])


@pytest.mark.long
def test_it_proposes_to_a_model(export, tmp_path):
    words = ["--policy", export, "--model", "rooms", "--output", str(tmp_path / "out")]
    words += ["--max_steps", "2", "--candidates", "2", "--rounds", "1", "--horizon", "2"]
    assert main([*words, "--every", "2", "--steps", "1"]) == 0
    assert json.loads((tmp_path / "out/plan.json").read_text())[0]["metres"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--planner", "cem", "--rounds", "2"], "--planner, --rounds: a policy alone plans"),
        (["--simulator"], "--policy or --simulator, got both"),
        (["--size", "32", "32"], "built for frames of 64x64, got 32x32"),
        (["--picture", "a.png", "--goal", "b.png"], "--policy: not with --picture"),
    ],
)
def test_what_it_refuses(export, tmp_path, words, told):
    with pytest.raises(ValueError, match=told):
        main(["--policy", export, "--output", str(tmp_path / "out"), *words])
    dreamer = Dreamer(depth=2, units=8, size=64, spec=Simulator.spec)
    dreamer.configure_model()
    dreamer.save_pretrained(tmp_path / "dreamer")
    with pytest.raises(ValueError, match="goes where it was rewarded"):
        main(["--policy", str(tmp_path / "dreamer"), "--output", str(tmp_path / "out")])
    with pytest.raises(FileNotFoundError, match=r"policy\.json"):
        main(["--policy", "nowhere", "--output", str(tmp_path / "out")])
