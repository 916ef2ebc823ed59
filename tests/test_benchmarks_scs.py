"""The benchmarks of the score: exact masks of known errors, masks carried by depth, tables."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import timing
from benchmarks.scs import cases, real, speed, truth
from benchmarks.tables import scs as tables
from egowm.video import read_frames

ROOT = Path(__file__).resolve().parent.parent


# Predictions with known errors ------------------------------------------------------------------


@pytest.fixture
def scenes():
    return [cases.rooms(k, size=32) for k in (0, 1)]


def test_cases_are_what_they_say(scenes):
    videos = {case: cases.predict(case, *scenes) for case in cases.CASES}
    truth, half = videos["truth"], cases.NUM_FRAMES // 2
    for video in videos.values():
        assert video.frames.shape == (17, 32, 32, 3)
        np.testing.assert_array_equal(video.frames[0], truth.frames[0])
        np.testing.assert_array_equal(video.ids[0], truth.ids[0])
    assert (videos["frozen"].ids == truth.ids[0]).all()
    np.testing.assert_array_equal(videos["frozen half-way"].ids[: half + 1], truth.ids[: half + 1])
    assert (videos["frozen half-way"].ids[half:] == truth.ids[half]).all()
    for case in ("blur", "noise"):
        np.testing.assert_array_equal(videos[case].ids, truth.ids)
    noise = videos["noise"].frames[1:].astype(float) - truth.frames[1:]
    assert noise.std() == pytest.approx(cases.NOISE, rel=0.1)
    for case in ("turn x0.5", "speed x0.5", "turn reversed"):
        assert (videos[case].ids[-1] != truth.ids[-1]).mean() > 0.02
    assert not videos["cross-fade"].ids[half + 1 :].any()
    np.testing.assert_array_equal(videos["cross-fade"].ids[: half + 1], truth.ids[: half + 1])
    shown = cases.predict("truth", scenes[1], scenes[0])
    np.testing.assert_array_equal(videos["cross-fade"].frames[-1], shown.frames[-1])


def test_every_second_thing_vanishes_and_comes_back_for_the_next_case(scenes):
    truth = cases.predict("truth", *scenes)
    things = [k for k in scenes[0].scored if k >= 6]
    gone = cases.predict("furniture vanishes", *scenes)
    half = cases.NUM_FRAMES // 2
    assert len(things) >= 2
    np.testing.assert_array_equal(gone.ids[: half + 1], truth.ids[: half + 1])
    assert not np.isin(gone.ids[half + 1 :], things[::2]).any()
    assert np.isin(truth.ids[half + 1 :], things[::2]).any()
    np.testing.assert_array_equal(cases.predict("truth", *scenes).ids, truth.ids)


def test_the_slow_world_is_slow_and_its_things_stand_free():
    scene = cases.slow(0, size=112)
    assert len(scene.scored) >= 2
    assert (np.abs(scene.actions[:, 2]) <= np.radians(1.0)).all()
    assert (scene.actions[:, 0] <= 0.08).all()
    video = cases.predict("truth", scene, scene)
    for ids in (video.ids[0], video.ids[-1]):
        edge = np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]])
        assert not np.isin(edge, scene.scored).any()
        assert set(scene.scored) <= set(np.unique(ids)) <= {0, 1, 2, 3, 4, 5, *scene.scored}


@pytest.mark.long
def test_true_scores_and_the_record(tmp_path, monkeypatch, capsys):
    small = partial(cases.rooms, size=32)
    monkeypatch.setattr(truth, "WORLDS", {"rooms": small, "slow": small})
    monkeypatch.setattr(truth, "CASES", ("truth", "frozen", "furniture vanishes", "turn x0.5"))
    monkeypatch.setattr(truth, "RIGID", ("frozen", "turn x0.5"))
    path = tmp_path / "scs-truth.json"
    argv = ["--clips", "2", "--slow-clips", "2", "--results", str(tmp_path)]
    assert truth.main(argv) == 0
    world = json.loads(path.read_text())["worlds"]["rooms"]
    rows = {row["case"]: row for row in world["cases"]}
    assert rows["truth"]["true"] == 100
    assert all(t["scs"] == 100 for t in rows["truth"]["trackers"].values())
    assert rows["frozen"]["trackers"]["copy"]["scs"] == 100  # it cannot tell
    assert 5 < rows["frozen"]["true"] < 90
    assert rows["frozen"]["trackers"]["palette"]["error"] < 5
    assert world["rigid"]["copy"]["rank"] is None
    page = tables.truth(tmp_path)
    assert f"| frozen | {rows['frozen']['true']:.1f} |" in page
    assert truth.main(["--clips", "1"]) == 2
    assert "2 clips or more" in capsys.readouterr().err


def test_rank_correlation():
    rank = truth.rank_correlation
    a = np.array([1.0, 2, 3, 4])
    assert rank(a, a**3) == pytest.approx(1)
    assert rank(a, -a) == pytest.approx(-1)
    assert rank(a, np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert rank(np.array([1.0, 1, 2, np.nan]), np.array([1.0, 2, 3, 0])) == pytest.approx(0.8660254)
    assert rank(a, np.ones(4)) is None


def test_written_masks_are_those_of_the_ids(scenes, tmp_path):
    video = cases.predict("truth", *scenes)
    first = cases.write_video(tmp_path / "clip", video, scenes[0].scored)
    for number, value in enumerate(scenes[0].scored, 1):
        np.testing.assert_array_equal(first == number, video.ids[0] == value)
    np.testing.assert_array_equal(read_frames(tmp_path / "clip"), video.frames)
    assert len(list((tmp_path / "clip" / "masks").iterdir())) == 17


# Real footage -----------------------------------------------------------------------------------


def shot(pose, depth=2.0):
    return real.Shot(np.zeros((480, 640, 3), np.uint8), np.full((480, 640), depth), pose)


def test_masks_move_with_the_camera():
    """A camera 0.1 m to the right of a wall 2 m away sees it 25.865 pixels further left."""
    masks, moved = np.zeros((1, 480, 640), bool), np.eye(4)
    masks[0, 100:200, 300:400] = True
    moved[0, 3] = 0.1
    found, known = real.carry(masks, shot(np.eye(4)), shot(moved))
    rows, columns = np.nonzero(found[0])
    assert (rows.min(), rows.max()) == (100, 199)
    assert (columns.min(), columns.max()) == (274, 373)
    assert known[:, :614].all()
    assert not known[:, 615:].any()  # out of view in the drawn frame
    same, everywhere = real.carry(masks, shot(np.eye(4)), shot(np.eye(4)))
    np.testing.assert_array_equal(same, masks)
    assert everywhere.all()


def test_what_was_hidden_or_has_no_depth_is_not_judged():
    masks = np.ones((1, 480, 640), bool)
    drawn, later = shot(np.eye(4)), shot(np.eye(4))
    drawn.depth[:, :100] = 1.0  # something stood there, which has left
    later.depth[:50] = 0
    found, known = real.carry(masks, drawn, later)
    expected = np.ones((480, 640), bool)
    expected[:, :100] = expected[:50] = False
    np.testing.assert_array_equal(known, expected)
    np.testing.assert_array_equal(found[0], expected)


def test_a_quaternion_turns_the_camera():
    """A quarter turn about z takes x to y."""
    pose = real._pose(np.array([1, 2, 3, 0, 0, np.sqrt(0.5), np.sqrt(0.5)]))
    np.testing.assert_allclose(pose @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


@pytest.mark.real_data
def test_the_drawn_structures_are_seen_from_both_sides(shared_data):
    """Carried two frames on and one back, most of every structure is known, and little has moved
    in the picture's own colours: the poses and the depth fit."""
    shots, masks = real.read_shots(shared_data / "tum_fr1_rpy_excerpt"), real.draw()
    assert len(shots) == 64
    for k in (real.DRAWN + 2, real.DRAWN - 1):
        found, _ = real.carry(masks, shots[real.DRAWN], shots[k])
        kept = found.sum((1, 2)) / masks.sum((1, 2))
        assert (kept[1:3] > 0.6).all()
        for mask, carried in zip(masks[1:], found[1:], strict=True):
            before = shots[real.DRAWN].frame[mask].mean()
            assert shots[k].frame[carried].mean() == pytest.approx(before, abs=25)


def test_a_missing_recording_is_one_line(tmp_path, capsys):
    assert real.main([str(tmp_path)]) == 2
    assert "associated.txt" in capsys.readouterr().err


# Speed ------------------------------------------------------------------------------------------


@pytest.mark.long
def test_speed_record(tmp_path, monkeypatch, capsys):
    """The whole benchmark, on two videos of three frames; its figures are of no interest here."""
    monkeypatch.setattr(timing, "MIN_SECONDS", 0.0)
    path = tmp_path / "scs.json"
    argv = ["--frames", "3", "--objects", "2", "--predictions", "1", "--lengths", "3", "4"]
    argv += ["--repeats", "1", "--device", "cpu", "--results", str(tmp_path)]
    assert speed.main(argv) == 0
    record = json.loads(path.read_text())
    assert record["settings"]["videos"] == 2
    assert record["settings"]["weights"] == "toy, random"
    assert record["agreement"]["iou"] > 0.999
    assert record["agreement"]["logit_std"] > 0.1
    assert record["speed"]["repeats"] == record["speed"]["calls"] == 1
    assert set(record["shares"]) == set(speed.PARTS)
    assert 0.3 < sum(record["shares"].values()) < 1
    held = record["memory"]["bytes_by_frames"]
    assert 0 < held["3"] < held["4"]
    assert "| CPU | toy, random |" in tables.speed(tmp_path)
    assert speed.main(["--frames", "2", "--results", str(tmp_path)]) == 2
    assert "--frames of at least 3" in capsys.readouterr().err
