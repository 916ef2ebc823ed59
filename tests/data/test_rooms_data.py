"""Rooms as a data set: drawn once, cached whole, safe when several draw, and labelled rightly."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from egowm.commands.main import explain
from egowm.data import Rooms, Window
from egowm.worlds import store
from egowm.worlds.motion import Disturbances
from egowm.worlds.recording import structures
from egowm.worlds.store import make_recording, make_recordings, read_ids, read_labels

SMALL = Window(context=1, horizon=3, height=16, width=16)


def rooms(root: Path, **options) -> Rooms:
    counts = {"episodes_train": 2, "episodes_val": 1, "episodes_test": 1, "num_frames": 8}
    return Rooms(str(root), SMALL, **(counts | options))


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """The seeds that are drawn from now on."""
    seeds: list[int] = []
    record = store.record

    def counted(seed, *args):
        seeds.append(seed)
        return record(seed, *args)

    monkeypatch.setattr(store, "record", counted)
    return seeds


def test_the_second_use_draws_nothing(tmp_path, drawn):
    first = rooms(tmp_path)
    first.prepare_data()
    assert sorted(drawn) == [0, 1, 10_000_000, 20_000_000]
    clips = [first.windows(split, tiled=True)[0] for split in ("train", "val", "test")]
    drawn.clear()
    second = rooms(tmp_path)
    second.prepare_data()
    again = [second.windows(split, tiled=True)[0] for split in ("train", "val", "test")]
    assert drawn == []
    for a, b in zip(clips, again, strict=True):
        assert a.name == b.name
        assert (a.frames == b.frames).all()
        assert (a.actions == b.actions).all()
    assert clips[0].frames.shape == (4, 3, 16, 16)
    assert clips[0].name == "room_0_00000"


def test_only_what_is_missing_is_drawn(tmp_path, drawn):
    rooms(tmp_path).split("train")
    drawn.clear()
    rooms(tmp_path, episodes_train=4).split("train")
    assert drawn == [2, 3]


def test_the_cache_is_keyed_by_what_made_it(tmp_path, monkeypatch):
    plain = rooms(tmp_path).folder
    assert plain.parent == tmp_path
    other = {
        rooms(tmp_path, num_frames=9).folder,
        rooms(tmp_path, world="passive").folder,
        rooms(tmp_path, disturbances=Disturbances(slip=0.1)).folder,
        Rooms(str(tmp_path), Window(height=24, width=16), num_frames=8).folder,
    }
    monkeypatch.setitem(store.WORLD_VERSION, "robot", store.WORLD_VERSION["robot"] + 1)
    other.add(rooms(tmp_path).folder)
    assert len(other - {plain}) == 5
    monkeypatch.undo()
    same = rooms(tmp_path, episodes_train=9, batch_size=3, seed=5, actions="commanded")
    assert same.folder == plain
    assert Rooms(str(tmp_path), Window(2, 5, 2, 16, 16), num_frames=8).folder == plain


def test_realised_actions_are_the_poses_differences(tmp_path):
    data = rooms(tmp_path, num_frames=33)
    for episode in data.split("train"):
        cameras = read_labels(data.folder / episode.name)["cameras"].astype(np.float64)
        x, y, yaw = cameras[:, 0], cameras[:, 1], cameras[:, 3]
        c, s = np.cos(yaw[:-1]), np.sin(yaw[:-1])
        dx, dy = np.diff(x), np.diff(y)
        expected = np.stack([c * dx + s * dy, -s * dx + c * dy, np.diff(yaw)], 1)
        np.testing.assert_allclose(episode.actions, expected, atol=1e-5)
        assert episode.actions[:, 0].max() > 0.1


def test_commanded_actions_are_what_was_asked(tmp_path):
    data = rooms(tmp_path, actions="commanded", disturbances=Disturbances(slip=0.2))
    [episode, _] = data.split("train")
    labels = read_labels(data.folder / episode.name)
    assert np.array_equal(episode.actions, labels["commanded"])
    assert not np.array_equal(labels["commanded"], labels["realised"])


def test_actions_can_be_left_out(tmp_path):
    """The same video, without what caused it."""
    plain, without = rooms(tmp_path), rooms(tmp_path, actions="none")
    a, b = plain.split("train")[0], without.split("train")[0]
    assert np.array_equal(a.read([0, 5]), b.read([0, 5]))
    assert np.abs(b.actions).max() == 0 < np.abs(a.actions).max()
    assert without.spec.normalise(torch.full((1, 3), 0.2)).abs().max() == 0


def test_papered_rooms_are_the_same_rooms(tmp_path):
    """Other pixels in a cache of their own; ids, poses and hues stay."""
    (tmp_path / "papers").mkdir()
    stripes = np.tile([0, 255], 32).astype(np.uint8)[None].repeat(48, 0)
    cv2.imwrite(str(tmp_path / "papers/stripes.png"), stripes)
    plain, papered = rooms(tmp_path), rooms(tmp_path, papers=str(tmp_path / "papers"))
    assert papered.folder.parent == plain.folder.parent
    a, b = plain.split("test")[0], papered.split("test")[0]
    assert plain.folder != papered.folder
    assert np.array_equal(a.actions, b.actions)
    ids = [read_ids(data.folder / a.name, 3) for data in (plain, papered)]
    assert np.array_equal(*ids)
    assert not np.array_equal(a.read([3]), b.read([3]))
    before = papered.folder
    cv2.imwrite(str(tmp_path / "papers/stripes.png"), 128 + 0 * stripes)
    assert papered.folder != before
    with pytest.raises(FileNotFoundError, match=r"pictures .* for the walls in"):
        rooms(tmp_path, papers=str(tmp_path / "none")).split("val")


def test_passive_video_has_no_actions(tmp_path):
    data = rooms(tmp_path, world="passive")
    assert np.abs(data.split("train")[0].actions).max() == 0
    assert data.source == "Rooms (passive)"
    assert rooms(tmp_path).source == "Rooms"


def test_no_room_is_in_two_splits_or_worlds(tmp_path):
    many = {"episodes_train": 3000, "episodes_val": 300, "episodes_test": 300}
    sets = [
        set(rooms(tmp_path, world=world, **many).seeds(split))
        for world in ("robot", "passive")
        for split in ("train", "val", "test")
    ]
    assert len(set.union(*sets)) == sum(map(len, sets)) == 7200


def test_annotations_are_the_scored_structures(tmp_path):
    data = rooms(tmp_path)
    clip = data.windows("test", tiled=True)[1]
    assert clip.name == "room_20000000_00004"
    ids, drawn = read_ids(data.folder / "room_20000000", 4), data.annotation(clip.name)
    found = structures(ids)
    assert drawn.dtype == np.uint8
    assert sorted(np.unique(drawn)) == list(range(len(found) + 1))
    for number, value in enumerate(found, start=1):
        assert np.array_equal(drawn == number, ids == value)


TWO_AT_ONCE = """
import sys, time
from pathlib import Path
from egowm.worlds.motion import Disturbances
from egowm.worlds.store import make_recording

root, own, other = map(Path, sys.argv[1:])
own.touch()
while not other.exists():
    time.sleep(0.001)
for seed in range(3, 9):
    make_recording(root, "robot", 6, (16, 16), Disturbances(), "", seed)
"""


def test_two_processes_draw_the_same_rooms(tmp_path):
    root, a, b = (tmp_path / name for name in ("rooms", "a", "b"))
    root.mkdir()
    workers = [
        subprocess.Popen([sys.executable, "-c", TWO_AT_ONCE, root, *pair])
        for pair in ((a, b), (b, a))
    ]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert sorted(p.name for p in root.iterdir()) == [f"room_{k}" for k in range(3, 9)]
    assert np.load(root / "room_4/frames.npy").shape == (6, 16, 16, 3)


def test_the_first_of_two_wins(tmp_path, monkeypatch):
    """Another process finishes between the look and the rename: its folder stays, ours goes."""
    (tmp_path / "theirs").mkdir()
    arguments = ("robot", 4, (16, 16), Disturbances(), "", 3)
    make_recording(tmp_path / "theirs", *arguments)
    replace = Path.replace

    def overtaken(self, target):
        if Path(target).name == "room_3":
            shutil.copytree(tmp_path / "theirs/room_3", target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    (tmp_path / "ours").mkdir()
    make_recording(tmp_path / "ours", *arguments)
    assert [p.name for p in (tmp_path / "ours").iterdir()] == ["room_3"]


def test_nothing_half_written(tmp_path, monkeypatch):
    def full(*args, **arrays):
        raise OSError(28, "No space left on device", "labels.npz")

    monkeypatch.setattr(store.np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        make_recording(tmp_path, "robot", 4, (16, 16), Disturbances(), "", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["frames.npy", "labels.npz", "ids.npy"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_room_is_named_in_one_line(tmp_path, name, damage):
    data = rooms(tmp_path)
    data.prepare_data()
    path = data.folder / "room_20000000" / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut" else 0])
    with pytest.raises(ValueError, match=r"Delete the folder .*room_20000000") as caught:
        data.annotation(data.windows("test", tiled=True)[0].name)
    assert explain(caught.value).startswith(f"{path} is missing or damaged")
    shutil.rmtree(path.parent)
    assert len(rooms(tmp_path).windows("test", tiled=True)) == 2  # drawn again


@pytest.mark.long
def test_many_rooms_use_all_cores(tmp_path, monkeypatch):
    """Workers draw what one process draws."""
    monkeypatch.setattr(store.os, "cpu_count", lambda: 2)
    arguments = ("robot", 2, (16, 16), Disturbances(), "")
    (tmp_path / "many").mkdir()
    (tmp_path / "one").mkdir()
    make = partial(make_recording, tmp_path / "many", *arguments)
    assert len(list(make_recordings(make, range(33)))) == 33
    make_recording(tmp_path / "one", *arguments, 17)
    a, b = (np.load(tmp_path / f"{n}/room_17/frames.npy") for n in ("many", "one"))
    assert np.array_equal(a, b)
    assert len(list((tmp_path / "many").iterdir())) == 33
