import json
import sys

import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.scs.annotation.proposals import choose, static
from egowm.scs.masks import read_masks, read_palette
from egowm.scs.trackers import Tracks
from egowm.scs.trackers.palette import PaletteTracker


class Seeing(PaletteTracker):
    """Finds everything of the same colour as the point or the middle of the box."""

    name = "seeing"

    def segment(self, frame, prompts):
        masks = []
        for prompt in prompts:
            at = prompt.points[0] if len(prompt.points) else prompt.box.reshape(2, 2).mean(0)
            wanted = frame[int(at[1]), int(at[0])]
            own, grey = wanted.argmax(), np.ptp(wanted) < 10
            same = (frame.argmax(-1) == own) & (np.ptp(frame, axis=-1) >= 10)
            masks.append(np.zeros(same.shape, bool) if grey else same)
        return np.stack(masks), np.ones(len(prompts))


@pytest.fixture(autouse=True)
def seeing(monkeypatch):
    monkeypatch.setitem(sys.modules, "seeing", sys.modules[__name__])


def test_drawn_masks_are_frozen(world, tmp_path, capsys):
    output = tmp_path / "frozen"
    argv = ["annotate", str(world.gt), "--masks", str(world.annotations), "--output", str(output)]
    assert main(argv) == 0
    for name, labels in world.truth.items():
        np.testing.assert_array_equal(read_palette(output / f"{name}.png"), labels[0])
    record = json.loads((output / "annotations.json").read_text())
    assert set(record["clips"]) == set(world.truth)
    assert main(argv) == 2
    assert "frozen" in capsys.readouterr().err
    (world.annotations / "clip2.png").write_bytes(b"")
    argv[-1] = str(tmp_path / "other")
    assert main(argv) == 2
    assert not list(tmp_path.glob("*other*"))


def test_prompts_of_another_size(world, tmp_path, capsys):
    rows = [
        {"id": 4, "label": "wall", "points": [[18, 16]]},
        {"id": 9, "box": [8, 36, 28, 56]},
        {"id": 11, "label": "person", "points": [[16, 70]]},
    ]
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"size": [128, 128], "clips": dict.fromkeys(world.truth, rows)}))
    output = tmp_path / "found"
    argv = ["annotate", str(world.gt), "--prompts", str(file), "--output", str(output)]
    assert main([*argv, "--tracker", "seeing.Seeing"]) == 0
    found = read_masks(output / "clip0.png")
    assert found.ids == (4, 9)
    np.testing.assert_array_equal(found.masks[0, 0], world.truth["clip0"][0] == 1)
    argv[-1] = str(tmp_path / "other")
    assert main([*argv, "--tracker", "flow"]) == 2
    assert "cannot find masks by itself" in capsys.readouterr().err
    assert main(argv) == 2
    assert "Give --tracker" in capsys.readouterr().err
    file.write_text(json.dumps({"size": [128, 100], "clips": dict.fromkeys(world.truth, rows)}))
    assert main([*argv, "--tracker", "seeing.Seeing"]) == 2
    assert "another crop" in capsys.readouterr().err
    for text in ("{", '{"size": [0, 1], "clips": {}}', '{"size": [8, 8], "clips": {"a": [{}]}}'):
        file.write_text(text)
        assert main([*argv, "--tracker", "seeing.Seeing"]) == 2
        assert 'expected {"size": [H, W]' in capsys.readouterr().err


def test_automatic_structures(world, tmp_path):
    output = tmp_path / "found"
    argv = ["annotate", str(world.gt), "--auto", "--tracker", "seeing.Seeing"]
    assert main([*argv, "--output", str(output)]) == 0
    labels = read_palette(output / "clip0.png")
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert ((labels > 0) == (world.truth["clip0"][0] > 0)).all()


def test_later_frames_are_annotated_for_reanchoring(world, tmp_path, capsys):
    output = tmp_path / "later"
    argv = ["annotate", str(world.gt), "--auto", "--tracker", "seeing.Seeing"]
    assert main([*argv, "--at", "2", "3", "--output", str(output)]) == 0
    for name in world.truth:
        assert sorted(p.name for p in (output / name).iterdir()) == ["00002.png", "00003.png"]
    found = read_palette(output / "clip1" / "00003.png") > 0
    np.testing.assert_array_equal(found, world.truth["clip1"][3] > 0)
    assert main([*argv, "--at", "4", "--output", str(tmp_path / "other")]) == 2
    assert "Clip clip0 has no frame after frame 4" in capsys.readouterr().err
    argv[2:3] = ["--masks", str(world.annotations)]
    assert main([*argv, "--at", "2", "--output", str(tmp_path / "other")]) == 2
    assert "--at is for --auto" in capsys.readouterr().err


def test_choice_of_candidates():
    masks = np.zeros((5, 40, 40), bool)
    masks[0, :10, :10] = True
    masks[1, :10, :11] = True  # the same thing, worse
    masks[2, 5:30, 5:30] = True  # overlaps: loses what the first has
    masks[3, 39, :10] = True  # too small
    masks[4] = True  # too large
    found, which = choose(masks, np.array([0.9, 0.8, 0.7, 0.9, 0.9]))
    assert which == [2, 0]
    assert [int(m.sum()) for m in found] == [600, 100]
    assert not (found[0] & found[1]).any()


def test_what_moves_by_itself_is_not_static():
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (20, 60)), np.ones((6, 6))).astype(np.uint8)
    thing = np.kron(rng.integers(0, 255, (6, 6)), np.ones((6, 6))).astype(np.uint8)
    frames, masks = [], np.zeros((6, 2, 120, 120), bool)
    for t in range(6):
        frame = texture[:, 3 * t : 3 * t + 120].copy()
        top = 30 + 4 * t
        frame[top : top + 36, 40:76] = thing
        masks[t, 0, :25], masks[t, 1, top : top + 36, 40:76] = True, True
        frames.append(np.repeat(frame[..., None], 3, axis=-1))
    tracks = Tracks(masks, np.ones((6, 2), np.float32))
    assert static(np.stack(frames), tracks).tolist() == [True, False]
    masks[2:, 0] = False  # lost in more than half of the frames
    assert static(np.stack(frames), tracks).tolist() == [False, False]
