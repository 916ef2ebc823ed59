"""`egowm view`: what rerun's own reader finds in the file that was written."""

import json
import os
import resource
import signal

import numpy as np
import pytest
import torch

from egowm.actions import ActionSpec
from egowm.clip import Clip
from egowm.commands import main as cli
from egowm.commands import view
from egowm.evaluation.rerun_recording import write_rrd
from egowm.evaluation.run_writer import new_run
from egowm.evaluation.scenes import of_run
from egowm.picture_file import decode_image
from egowm.video import read_frames, write_frames, write_mp4

RrdReader = pytest.importorskip("rerun.chunk").RrdReader
rerun = pytest.importorskip("rerun")
SPEC = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)


def entities(path) -> dict[str, list]:
    """Of each entity, its values by frame; of what is always there, the value alone."""
    found: dict[str, dict[int, object]] = {}
    for chunk in RrdReader(str(path)).stream().to_chunks():
        batch = chunk.to_record_batch()
        frames = [0] * batch.num_rows
        if "frame" in batch.schema.names:
            frames = batch.column("frame").to_pylist()
        for name in batch.schema.names:
            if ":" not in name or chunk.entity_path.startswith("/__"):
                continue
            place = f"{chunk.entity_path.removeprefix('/')} {name.split(':')[1]}"
            held = zip(frames, batch.column(name).to_pylist(), strict=True)
            found.setdefault(place, {}).update({k: x for k, x in held if x is not None})
    return {place: [values[k] for k in sorted(values)] for place, values in found.items()}


@pytest.fixture
def run(tmp_path):
    """One clip of 3 frames of 8x8 under its own and another clip's actions."""
    frames = torch.randint(0, 256, (1, 3, 3, 8, 8), dtype=torch.uint8)
    actions = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, torch.pi / 2]]])
    clip = Clip(frames, actions, torch.zeros(1, 0, 3), torch.zeros(1, 0), [""], ["rooms"], ["a_00"])  # type: ignore[arg-type]
    variants = {"pred": "model", "pred_shuffled": "model, shuffled"}
    ids = np.zeros((8, 8), np.uint8)
    ids[2:5, 2:5] = 3
    with new_run(tmp_path / "run", SPEC, "rooms", "model", variants) as writer:
        writer.truth(clip, 0)
        writer.annotation("a_00", ids)
        for name, level in (("pred", 0.25), ("pred_shuffled", 0.5)):
            writer.prediction(name, clip, 0, torch.full((2, 3, 8, 8), level))
        writer.told("pred_shuffled", "a_00", torch.zeros(2, 3), "b_00")
        writer.finish()
    return tmp_path / "run"


def test_a_run_is_read_back(run, tmp_path, capsys):
    output = tmp_path / "run.rrd"
    assert cli.main(["view", str(run), "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"{output}: 1 scene; open it with: rerun {output}\n"
    found = entities(output)
    for name in ("gt", "pred", "pred_shuffled"):
        pictures = [decode_image(bytes(x[0])) for x in found[f"a_00/{name} blob"]]
        assert np.array_equal(np.stack(pictures), read_frames(run / name / "a_00"))
    assert np.array(found["a_00/gt/structures buffer"][0][0]).sum() == 9 * 3
    assert len(found["a_00/gt/structures buffer"]) == 1
    assert found["a_00/actions/dx scalars"] == [[1.0], [1.0]]
    assert found["a_00/actions/dyaw scalars"] == [[0.0], pytest.approx([np.pi / 2])]
    assert found["a_00/told/pred_shuffled/dx scalars"] == [[0.0], [0.0]]
    (way,) = found["a_00/paths/gt strips"]
    assert np.allclose(way, [[[0, 0], [0, -1], [0, -2]]])  # two metres ahead, which is up
    assert np.allclose(found["a_00/paths/gt/at positions"], [[[0, 0]], [[0, -1]], [[0, -2]]])
    assert "a_00/paths/pred_shuffled strips" in found


def test_structures_are_followed_where_a_tracker_is_named(run, tmp_path):
    output = tmp_path / "run.rrd"
    assert cli.main(["view", str(run), "--output", str(output), "--tracker", "copy"]) == 0
    found = entities(output)
    for name in ("gt", "pred", "pred_shuffled"):
        ids = [np.array(x[0]) for x in found[f"a_00/{name}/structures buffer"]]
        assert [x.sum() for x in ids] == [27, 27, 27]


def test_recordings_plans_and_rollouts(rooms, tmp_path, capsys, monkeypatch):
    recipe = tmp_path / "rooms.yaml"
    arguments = {"root": rooms.root, "num_frames": 7, "episodes_train": 2, "episodes_val": 1}
    arguments |= {"episodes_test": 3, "window": {"horizon": 3, "height": 16, "width": 16}}
    recipe.write_text(
        json.dumps({"data": {"class_path": "egowm.data.Rooms", "init_args": arguments}})
    )
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["view", str(recipe), "--split", "test", "--clips", "2", "--frames", "4"]) == 0
    assert capsys.readouterr().out == "view.rrd: 2 scenes; open it with: rerun view.rrd\n"
    found, episode = entities(tmp_path / "view.rrd"), rooms.split("test")[0]
    pictures = [decode_image(bytes(x[0])) for x in found[f"{episode.name}/gt blob"]]
    assert np.array_equal(np.stack(pictures), episode.read(range(4)))
    name = rooms.meaning.names[0]
    values = np.ravel(found[f"{episode.name}/actions/{name} scalars"])
    assert np.allclose(values, episode.actions[:3, 0])
    assert f"{episode.name}/paths/driven strips" in found

    (tmp_path / "plan").mkdir()
    row = {"room": 7, "start": [0, 0, 0], "goal": [1, 2, 0], "poses": [[0, 0, 0], [0.5, 0, 0]]}
    (tmp_path / "plan/plan.json").write_text(json.dumps([row]))
    film = np.full((2, 32, 48, 3), 90, np.uint8)
    write_mp4(tmp_path / "plan/room_0.mp4", film, 4)
    assert cli.main(["view", "plan", "--output", "plan.rrd"]) == 0
    found = entities(tmp_path / "plan.rrd")
    assert np.allclose(found["room_0/paths/driven strips"], [[[[0, 0], [0, -0.5]]]])
    assert len(found["room_0/film blob"]) == 2  # as the film's file; the text has the room's number
    assert '"room": 7' in found["room_0/text text"][0][0]

    write_frames(tmp_path / "walk/frames", film)
    write_mp4(tmp_path / "walk/rollout.mp4", film, 4)
    assert cli.main(["view", "walk", "--output", "walk.rrd"]) == 0
    assert len(entities(tmp_path / "walk.rrd")["rollout/frames blob"]) == 2
    assert cli.main(["view", "walk", "--output", "walk.rrd"]) == 0  # its own kind gives way
    capsys.readouterr()
    (tmp_path / "letter.rrd").write_text("mine")
    assert cli.main(["view", "walk", "--output", "letter.rrd"]) == 2
    assert "is not a recording of `egowm view`" in capsys.readouterr().err


def test_the_viewer_opens_where_there_is_a_display(run, monkeypatch, capsys):
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("egowm.evaluation.rerun_recording.show", lambda x: shown.extend(x) or 1)
    assert cli.main(["view", str(run)]) == 0
    assert [scene.name for scene in shown] == ["a_00"]
    assert capsys.readouterr().out == "1 scene in the viewer\n"


def test_nothing_is_left_of_a_run_that_cannot_be_read(run, tmp_path, capsys):
    """Found only when its scenes are read: the folders for the output go again."""
    (run / "pred/a_00/00001.png").write_bytes(b"no picture")
    output = tmp_path / "new/deeper/run.rrd"
    assert cli.main(["view", str(run), "--output", str(output)]) == 2
    assert "00001.png" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_file_that_cannot_grow_is_told(run, tmp_path, capsys):
    """rerun itself would wait for ever; here a limit of the system stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        status = cli.main(["view", str(run), "--output", str(tmp_path / "a.rrd")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert status == 2
    assert "File too large" in capsys.readouterr().err
    assert list(tmp_path.glob("*a.rrd")) == []


def test_a_name_that_is_no_text_is_written(run, tmp_path):
    name = os.fsdecode(b"caf\xe9.rrd")
    assert write_rrd(of_run(run, 1), tmp_path / name) == 1
    assert (tmp_path / name).stat().st_size > 1000


def test_mistakes_are_one_line(run, tmp_path, capsys, monkeypatch):
    for words, said in (
        ([str(tmp_path / "none")], "expected a folder of recordings or a recipe"),
        ([str(run), "--clips", "0"], "--clips and --frames of at least 1"),
        ([str(run), "--tracker", "masks"], "expected one that follows frames"),
        ([str(tmp_path), "--tracker", "copy"], "--tracker is for a run of `egowm eval`"),
        ([str(tmp_path), "--root", "x"], "is not a recipe"),
    ):
        assert cli.main(["view", *words, "--output", str(tmp_path / "a.rrd")]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "a.rrd").exists()
    monkeypatch.setattr(view, "find_spec", lambda name: None)
    assert cli.main(["view", str(run)]) == 2
    assert "pip install 'egowm[rerun]'" in capsys.readouterr().err
