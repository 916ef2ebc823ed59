"""The embedded humanoid written as 1X and as LeRobot write, and read by their loaders."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from egowm.actions.humanoid_states import NAMES
from egowm.commands.data import main
from egowm.data import LeRobot, OneX, Window
from egowm.data.humanoid_writer import write_humanoid
from egowm.data.inspect.opening import open_folder
from egowm.worlds.humanoid_recording import live, record_humanoid

WINDOW = Window(context=1, horizon=2, stride=6, height=32, width=32)
FEW = {"episodes": 2, "val_episodes": 1, "seconds": 0.8, "size": 32}


@pytest.fixture(scope="module")
def one_x(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("halls") / "one-x"
    write_humanoid(root, "one-x", "manipulation", **FEW)
    return root


def test_thirty_hertz_by_stride_six_are_the_states_at_five(one_x):
    data = OneX(str(one_x), WINDOW, val_share=0)
    run = record_humanoid(0, "manipulation", 4, 32, 32)
    clip = data.windows("train", tiled=True)[0]
    np.testing.assert_allclose(clip.actions, np.diff(run.states, axis=0)[:2], atol=1e-5)
    np.testing.assert_allclose(clip.state, run.states[0], atol=1e-6)
    assert data.clip_meaning.rate_hz == 5.0
    off = clip.frames.numpy().transpose(0, 2, 3, 1).astype(float) - run.frames[:3]
    assert np.sqrt(np.square(off).mean()) < 20  # saturated colours in 4:2:0, at 32 pixels


def test_halls_of_validation_are_others(one_x):
    data = OneX(str(one_x), WINDOW, val_share=0)
    assert len(data.split("train")) == 2
    (segment,) = data.split("test")
    states = record_humanoid(10_000_000, "manipulation", 2, 16, 16).states
    np.testing.assert_allclose(segment.states[::6][:2], states, atol=1e-6)


def test_lerobot_has_the_targets_as_actions_in_parts(tmp_path):
    root = tmp_path / "robot"
    with pytest.raises(ValueError, match="does not name validation episodes"):
        write_humanoid(root, "lerobot", "navigation", **FEW)
    write_humanoid(root, "lerobot", "navigation", **(FEW | {"val_episodes": None}))
    parts = {"action": "action.*", "state": "observation.state.*"}
    data = LeRobot(str(root), WINDOW, val_share=0, test_share=0, **parts)
    assert data.meaning.names == NAMES
    episode = data.split("train")[0]
    told = np.array([t for _, t in islice(live(0, "navigation", every=1), 23)], np.float32)
    np.testing.assert_array_equal(episode.actions, told)
    found = open_folder(root)
    assert (found.action, found.state) == ("action.*", "observation.state.*")


def test_the_command_writes_and_refuses_to_overwrite(tmp_path, capsys):
    few = ["--episodes", "1", "--val_episodes", "0", "--seconds", "0.3", "--size", "16"]
    command = ["draw", str(tmp_path / "out"), "--layout", "one-x", *few]
    assert main(command) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        main([*command, "--force"])
    with pytest.raises(ValueError, match="seconds"):
        main([*command[:1], str(tmp_path / "other"), *few[:4], "--seconds", "inf"])
    with pytest.raises(ValueError, match="even size"):
        main([*command[:1], str(tmp_path / "other"), *few[:4], "--size", "33"])
