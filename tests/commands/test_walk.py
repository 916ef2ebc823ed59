"""`egowm walk`: what it refuses before it loads anything, and what it serves."""

import argparse
import importlib.util

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.commands import walk
from egowm.commands.work import walk as work
from egowm.serving.doorkeeper import Doorkeeper
from egowm.serving.server import address, opened, token_for
from egowm.video import write_frames, write_image


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such picture or folder"),
        (["--port", "70000"], "Expected a --port from 0 to 65535, got 70000"),
        (["--visitors", "0"], "--visitors of at least 1"),
        (["--room", "-1"], "--room of 0 or more"),
        (["--token", "a&b"], "letters, digits, - and _"),
        (["--size", "0", "64"], "Expected a --size from 1 to 8192 pixels"),
        (
            ["--compile", "cudagraphs", "--device", "cpu"],
            "CUDA graphs need a GPU, and this walk is",
        ),
    ],
)
def test_what_cannot_be_served_is_one_line(words, message, capsys):
    assert cli.main(["walk", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", walk.NEEDS)
def test_a_missing_package_is_named_with_its_extra(name, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(walk, "find_spec", lambda word: None if word == name else find(word))
    assert cli.main(["walk"]) == 2
    assert capsys.readouterr().err == (
        f"egowm: egowm walk needs {name}: pip install 'egowm[walk]'\n"
    )


def test_a_taken_port_is_told(capsys, monkeypatch):
    with opened("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(work, "_served", lambda *arguments: pytest.fail("loaded a model"))
        assert cli.main(["walk", "--port", str(port)]) == 2
    assert f"Port {port} is taken: give another one with --port" in capsys.readouterr().err


def test_an_opened_server_has_a_token():
    assert token_for("127.0.0.1", None) is None
    assert token_for("0.0.0.0", "mine") == "mine"
    made = {token_for("0.0.0.0", None) for _ in range(9)}
    assert len(made) == 9
    assert min(map(len, made)) >= 20
    with opened("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert address(listening, None) == f"http://127.0.0.1:{port}/"
        assert address(listening, "mine") == f"http://127.0.0.1:{port}/?token=mine"


@pytest.fixture
def run(monkeypatch, world_model, tmp_path, capsys):
    """Runs the command on an export of the tiny model, up to where it would wait for visitors."""
    folder = tmp_path / "run/export"
    folder.parent.mkdir()
    world_model.save_pretrained(folder)
    seen: dict = {}
    build = work.build

    def built(served, keeper, visitors):
        seen.update(served=served, keeper=keeper, visitors=visitors)
        return build(served, keeper, visitors)

    monkeypatch.setattr(work, "build", built)
    monkeypatch.setattr(work, "serve", lambda app, listening: None)

    def go(*words: str) -> argparse.Namespace:
        command = ["walk", "--model", str(folder), "--port", "0", "--size", "16", "16", *words]
        status = cli.main(command)
        return argparse.Namespace(status=status, said=capsys.readouterr(), **seen)

    return go


@pytest.mark.parametrize(
    ("model", "name"),
    [(None, "rooms"), ("rooms", "rooms"), ("runs/robot/export", "robot"), ("exports/long", "long")],
)
def test_a_model_is_called_by_its_run(model, name):
    assert work._name(model) == name


@pytest.mark.long
def test_a_folder_of_pictures(run, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    write_frames(tmp_path / "pictures", frames)
    made = run(str(tmp_path / "pictures"), "--visitors", "2", "--block", "2")
    assert made.status == 0
    assert made.said.out.startswith("Walk at http://127.0.0.1:")
    assert [name for name, _ in made.served.pictures] == ["00000.png", "00001.png", "00002.png"]
    assert {picture.shape for _, picture in made.served.pictures} == {(16, 16, 3)}
    assert (made.visitors, made.keeper) == (2, Doorkeeper(None))
    about = made.served.about()
    assert (about["name"], about["block"], about["domain_is_known"]) == ("run", 2, False)
    walked = made.served.begin({"type": "begin", "shown": 1})
    assert walked.truth is None
    assert walked.last.imagined.shape == (16, 16, 3)


def test_a_state_that_nothing_embeds_is_refused(run):
    made = run("--state", "1")
    assert made.status == 2
    assert "This model embeds no state" in made.said.err


def test_pictures_like_those_of_the_training(run, tmp_path):
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 60, (45, 16, 16, 3), np.uint8)
    write_frames(tmp_path / "like", dark)
    write_image(tmp_path / "bright.png", np.full((16, 16, 3), 250, np.uint8))
    made = run(str(tmp_path / "bright.png"), "--like", str(tmp_path / "like"))
    assert made.status == 0
    assert made.served.domain.unlike(dark[3]) is None
    assert "those in like" in made.served.domain.unlike(made.served.pictures[0][1])
    write_frames(tmp_path / "few", dark[:5])
    made = run("--like", str(tmp_path / "few"))
    assert made.status == 2
    assert "Expected at least 40 pictures" in made.said.err


def test_the_shipped_model_knows_its_rooms(world_model):
    from egowm.latent import from_pretrained
    from egowm.serving.domain import domain_of

    assert domain_of(world_model) is None
    assert domain_of(from_pretrained("rooms")).about == "rooms drawn by a simulator"
