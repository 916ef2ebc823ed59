"""`egowm plan --policy`: it drives alone, or proposes to a world model."""

import json

import pytest
import torch

from egowm.commands.plan import main
from egowm.evaluation.simulator import Simulator
from egowm.policies import BehaviourCloning
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
    with pytest.raises(FileNotFoundError, match=r"policy\.json"):
        main(["--policy", "nowhere", "--output", str(tmp_path / "out")])
