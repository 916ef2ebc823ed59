"""Structures annotated anew on the way: closed forms on moving squares."""

import json

import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.scs.score import overlap
from egowm.video import write_frames

from .conftest import draw

ANCHORS = (3, 6)


@pytest.fixture
def world(make_world):
    """Nine frames; `later/<clip>/00003.png` and `00006.png` hold the structures of the truth."""
    world = make_world(num_frames=9)
    write_anchors(world)
    return world


def write_anchors(world):
    for name, labels in world.truth.items():
        for k in ANCHORS:
            write_palette(world.root / "later" / name / f"{k:05d}.png", labels[k])


def score(world, **options):
    return score_folders(world.pred, world.gt, world.annotations, tracker="palette", **options)


def expected(world):
    """The mean over parts and structures, then clips, from the ids."""
    clips = []
    for name, truth in world.truth.items():
        means = []
        for start, end in ((0, 3), (3, 6), (6, 8)):
            part = slice(start, end + 1)
            for k in filter(None, np.unique(truth[start])):
                pred, target = world.predicted[name][part, None] == k, truth[part, None] == k
                means.append(np.nanmean(overlap(pred, target).iou()))
        clips.append(np.mean(means))
    return 100 * np.mean(clips)


@pytest.mark.long
def test_every_part_is_scored_from_its_anchor(world):
    plain, found = score(world), score(world, reanchor=world.root / "later")
    assert found.scs == plain.scs
    assert found.reanchored.scs == pytest.approx(expected(world))
    assert plain.reanchored is None
    assert plain.fingerprint != found.fingerprint
    record = json.loads(found.to_json())["scs_reanchored"]
    assert record["scs"] == pytest.approx(expected(world), abs=1e-4)
    # Three squares of 100 pixels in 64 x 64, wherever they are.
    assert record["coverage"] == pytest.approx(300 / 4096, abs=1e-4)
    # A copy of the last anchor is less wrong than one of frame 0.
    assert found.copy.scs < record["copy"] < 100
    assert record["ci95"] is None
    truth = score_folders(
        world.gt, world.gt, world.annotations, tracker="palette", reanchor=world.root / "later"
    )
    assert truth.reanchored.scs == 100


@pytest.mark.long
def test_what_comes_into_view_later_counts(world):
    """Square 3 enters the truth at frame 3, and the prediction never shows it."""
    for name, labels in world.truth.items():
        labels[:3][labels[:3] == 3] = 0
        world.predicted[name][world.predicted[name] == 3] = 0
        write_frames(world.gt / name, draw(labels))
        write_frames(world.pred / name, draw(world.predicted[name]))
        write_palette(world.annotations / f"{name}.png", labels[0])
    write_anchors(world)
    found = score(world, reanchor=world.root / "later")
    assert found.reanchored.scs == pytest.approx(expected(world))
    assert found.reanchored.scs < found.scs - 15


@pytest.mark.long
def test_anchors_that_do_not_fit_are_refused(world, capsys):
    later = world.root / "later"
    argv = ["score", str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    argv += ["--reanchor", str(later), "--tracker"]
    assert main([*argv, "palette"]) == 0
    assert "annotated anew on the way" in capsys.readouterr().out
    world.write_masks(world.root / "saved")
    folders = [str(world.root / "saved" / half) for half in ("pred", "gt")]
    assert main(["score", *folders, *argv[5:], "masks"]) == 2
    assert "'masks' reads masks from disk" in capsys.readouterr().err
    (later / "clip1" / "00003.png").rename(later / "clip1" / "00008.png")
    assert main([*argv, "palette"]) == 2
    assert "between frame 1 and 7, with a frame after them, got 8" in capsys.readouterr().err
    for file in (later / "clip1").iterdir():
        file.unlink()
    assert main([*argv, "palette"]) == 2
    assert "no further anchor in 1 of 3 clips: clip1." in capsys.readouterr().err
