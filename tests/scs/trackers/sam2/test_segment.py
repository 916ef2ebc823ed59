import json

import numpy as np
import pytest
import torch

from egowm.commands.scs.main import main
from egowm.scs.annotation.prompts import Prompt
from egowm.scs.annotation.proposals import AREA, choose
from egowm.scs.masks import read_masks
from egowm.scs.trackers.sam2 import Sam2Tracker
from egowm.scs.trackers.sam2.network import Network
from egowm.scs.trackers.sam2.pictures import segment, to_masks, to_pixels
from egowm.video import write_frames

from .conftest import SIDE, make_video

SIZE = (96, 160)
NONE = np.zeros((0, 2))


def prompt(number, points=NONE, labels=(), box=None):
    box = None if box is None else np.array(box, float)
    return Prompt(number, "", np.array(points, float), np.array(labels, int), box, SIZE)


PROMPTS = [
    prompt(1, [[30, 40]], [1]),
    prompt(2, box=[20, 10, 90, 60]),
    prompt(3, [[100, 20], [110, 80], [10, 10]], [1, 1, 0]),
    prompt(4, [[140, 90]], [1]),
]


@torch.inference_mode()
def picture_model(model, frame, one):
    """The mask that transformers' own model finds in one picture, and its expected IoU."""
    scale = np.array([SIDE / SIZE[1], SIDE / SIZE[0]])
    given = {}
    if one.box is not None:
        given["input_boxes"] = torch.tensor(
            (one.box.reshape(2, 2) * scale).reshape(1, 1, 4)
        ).float()
    else:
        given["input_points"] = torch.tensor(one.points * scale)[None, None].float()
        given["input_labels"] = torch.tensor(one.point_labels)[None, None].int()
    found = model._single_frame_forward(
        pixel_values=to_pixels(frame[None], SIDE, torch.device("cpu")),
        multimask_output=len(one.points) == 1,
        **given,
    )
    return to_masks(found.pred_masks[0], SIZE)[0], found.iou_scores.max().item()


def test_points_and_boxes_are_those_of_the_picture_model(model):
    frame = make_video(1)[0]
    masks, quality = segment(Network(model), frame, PROMPTS, batch=1)
    wanted = [picture_model(model, frame, one) for one in PROMPTS]
    for mask, value, (want, expected) in zip(masks, quality, wanted, strict=True):
        assert 0 < want.sum() < want.size
        assert (mask != want).mean() < 1e-3
        assert value == pytest.approx(expected, abs=1e-4)
    together, same = segment(Network(model), frame, PROMPTS)
    assert (together != masks).mean() < 1e-3
    np.testing.assert_allclose(same, quality, atol=1e-4)
    assert (masks[0] != masks[3]).any()


@pytest.mark.long
def test_annotate_with_prompts(folder, tmp_path, capsys):
    write_frames(tmp_path / "gt" / "clip", make_video(2))
    rows = [{"id": 3, "box": [20, 10, 90, 60]}]
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"size": SIZE, "clips": {"clip": rows}}))
    argv = ["annotate", str(tmp_path / "gt"), "--prompts", str(file), "--tracker", "sam2"]
    argv += ["--tracker_weights", str(folder), "--output"]
    assert main([*argv, str(tmp_path / "found")]) == 0
    found = read_masks(tmp_path / "found" / "clip.png")
    masks, _ = Sam2Tracker(folder, device="cpu").segment(make_video(2)[0], PROMPTS[1:2])
    assert found.ids == (3,)
    assert (found.masks[0] != masks).mean() < 1e-3
    record = json.loads((tmp_path / "found" / "annotations.json").read_text())
    assert len(record["how"]["options"]["weights"]) == 64
    argv[-1:] = ["--tracker_implementation", "native", "--output", str(tmp_path / "other")]
    assert main(argv) == 2
    assert "native only follows masks" in capsys.readouterr().err


@pytest.mark.long
def test_annotate_automatically(folder, tmp_path):
    """A grid of points, the best that do not overlap, and of these what stays in view. The video
    stands still, so that no motion speaks against any."""
    video = make_video(1).repeat(3, axis=0)
    write_frames(tmp_path / "gt" / "clip", video)
    argv = ["annotate", str(tmp_path / "gt"), "--auto", "--tracker", "sam2", "--tracker_weights"]
    assert main([*argv, str(folder), "--output", str(tmp_path / "found")]) == 0
    found = read_masks(tmp_path / "found" / "clip.png")
    tracker = Sam2Tracker(folder, device="cpu")
    grid = [
        prompt(k, [[10 * x + 5, 6 * y + 3]], [1]) for k, (y, x) in enumerate(np.ndindex(16, 16))
    ]
    wanted, _ = choose(*tracker.segment(video[0], grid))
    seen = tracker.track(video, wanted).masks[1:].any((2, 3)).mean(0) >= 0.5
    assert found.ids == tuple(range(1, 1 + int(seen.sum())))
    assert (found.masks[0] != wanted[seen]).mean() < 1e-3
    shares = found.masks[0].mean((1, 2))
    assert 1 <= len(shares) <= 8
    assert ((shares >= AREA[0]) & (shares <= AREA[1])).all()
    assert found.masks[0].sum(0).max() == 1
    record = json.loads((tmp_path / "found" / "annotations.json").read_text())
    assert record["how"]["way"] == "auto"
    assert len(record["how"]["options"]["weights"]) == 64
