"""Run folders: what an earlier run left is replaced, what a person made is not."""

import json

import numpy as np
import pytest
import torch

from egowm.data import Clip
from egowm.evaluation.run_folder import read_run
from egowm.evaluation.run_writer import new_run, to_uint8
from egowm.scs.masks import read_palette, write_palette
from egowm.video import read_frames


def batch(name: str = "room_7_00003", grey: int = 9) -> Clip:
    """One clip: 2 context and 2 future frames, frame k of one grey value."""
    levels = (grey * torch.arange(4, dtype=torch.uint8)).reshape(1, 4, 1, 1, 1)
    actions = torch.tensor([[[0.5, 0.0, 0.25], [1.0, 0.0, 0.0]]])
    empty = torch.zeros(1, 1, 3), torch.zeros(1, 0), [""], ["Rooms"], [name]
    return Clip(levels.expand(1, 4, 3, 8, 8), actions, *empty)


def write(folder, spec, clip: Clip) -> None:
    with new_run(folder, spec, "Rooms", "mine", {"pred": "mine"}) as writer:
        writer.truth(clip, 0)
        writer.prediction("codec", clip, 0, torch.ones(2, 3, 8, 8))
        writer.prediction(
            "pred", clip, 0, torch.tensor([0.5, 2.0]).reshape(2, 1, 1, 1).expand(2, 3, 8, 8)
        )
        writer.finish("A title")


def test_frames_begin_with_the_last_context_frame(tmp_path, spec):
    write(tmp_path / "run", spec, batch())
    run = read_run(tmp_path / "run")
    assert run.frames("gt", "room_7_00003")[:, 0, 0, 0].tolist() == [9, 18, 27]
    assert run.frames("pred", "room_7_00003")[:, 0, 0, 0].tolist() == [9, 128, 255]
    assert run.actions["room_7_00003"].tolist() == [[0.5, 0.0, 0.25], [1.0, 0.0, 0.0]]
    assert (run.title, run.model, run.source, run.fps) == ("A title", "mine", "Rooms", 4.0)
    assert run.meaning.units == ("m", "m", "rad")
    described = json.loads((tmp_path / "run/clips.json").read_text())
    assert (described["context"], described["action_frame"]) == (1, "body")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"clips.json", "codec", "gt", "pred"}


def test_to_uint8_rounds_and_clips():
    values = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 3.0])
    frames = to_uint8(values.reshape(6, 1, 1, 1).expand(6, 3, 1, 1))
    assert frames.shape == (6, 1, 1, 3)
    assert frames[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_an_earlier_run_is_replaced(tmp_path, spec):
    write(tmp_path, spec, batch("old"))
    (tmp_path / "scs.json").write_text("{}")
    (tmp_path / "scs_zero.json").write_text("{}")
    write(tmp_path, spec, batch("new"))
    assert read_run(tmp_path).clips == ["new"]
    assert not list(tmp_path.glob("scs*.json"))


def test_annotations_drawn_by_a_person_stay(tmp_path, spec):
    drawn = np.eye(8, dtype=np.uint8)
    write(tmp_path, spec, batch("old"))
    write_palette(tmp_path / "annotations/room_7_00003.png", drawn)
    write(tmp_path, spec, batch())
    write(tmp_path, spec, batch())
    assert read_run(tmp_path).clips == ["room_7_00003"]
    assert np.array_equal(read_palette(tmp_path / "annotations/room_7_00003.png"), drawn)


def fail(folder, spec) -> None:
    with new_run(folder, spec, "Rooms", "mine", {"pred": "mine"}) as writer:
        writer.truth(batch("new"), 0)
        raise KeyboardInterrupt


def test_a_run_that_fails_leaves_the_older_one(tmp_path, spec):
    write(tmp_path / "run", spec, batch("old"))
    for folder in ("run", "other"):
        with pytest.raises(KeyboardInterrupt):
            fail(tmp_path / folder, spec)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"clips.json", "codec", "gt", "pred"}
    assert read_run(tmp_path / "run").frames("pred", "old")[:, 0, 0, 0].tolist() == [9, 128, 255]


def test_recordings_that_no_run_wrote_are_never_replaced(tmp_path, spec):
    """`--output` given where somebody keeps true videos as `gt/`."""
    write(tmp_path, spec, batch("mine"))
    (tmp_path / "clips.json").unlink()
    with pytest.raises(FileExistsError, match=r"holds codec/mine/00000\.png, .* did not write"):
        write(tmp_path, spec, batch("mine"))
    assert read_frames(tmp_path / "gt/mine")[:, 0, 0, 0].tolist() == [9, 18, 27]
