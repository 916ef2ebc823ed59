"""Recordings in litdata's format: the same clips as from what was packed, also after a stop."""

import json
import multiprocessing
import os
import pickle
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from egowm.commands import main as cli
from egowm.data import LitData, Packed, Rooms, Window
from egowm.data import lit_data as module
from egowm.data import lit_packing as packing
from egowm.data.inspect.opening import open_folder
from egowm.data.lit_packing import pack_litdata
from egowm.data.packing import pack
from egowm.video import VideoError

WINDOW = Window(context=1, horizon=5, height=8, width=8)
OPTIONS = {"episodes_train": 3, "episodes_val": 1, "episodes_test": 1, "num_frames": 37}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Rooms:
    """Five rooms of 37 frames: three blocks each, the last of five frames."""
    return Rooms(str(tmp_path_factory.mktemp("rooms")), WINDOW, batch_size=4, **OPTIONS)


@pytest.fixture(scope="module")
def packed(rooms, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lit") / "packed"
    pack_litdata(rooms, folder, (8, 8), progress=False)
    return folder


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """Readers are kept for each place, and tests write places anew."""
    module._reader.cache_clear()


def same(one, other, split: str) -> int:
    """Compare all clips of a split; how many there are."""
    left, right = (data.windows(split, tiled=False) for data in (one, other))
    assert len(left) == len(right)
    for k in range(len(left)):
        for a, b in zip(left[k], right[k], strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else str(a) == str(b)
    return len(left)


@pytest.mark.long
@pytest.mark.parametrize("root", ["{}", "file://{}"])
def test_every_clip_is_that_of_the_pack(root, packed, rooms, tmp_path):
    pack(rooms, tmp_path / "pack", (8, 8), progress=False)
    read = LitData(root.format(packed), WINDOW)
    plain = Packed(str(tmp_path / "pack"), WINDOW)
    assert [same(read, plain, split) for split in ("train", "val", "test")] == [96, 32, 32]
    assert read.spec == plain.spec
    assert (read.source, read.meaning) == (plain.source, plain.meaning)


def test_as_a_bucket(packed, rooms, monkeypatch):
    """By litdata's interface for what is far away, which asks for single items."""
    monkeypatch.setattr(module, "BUCKETS", (*module.BUCKETS, "local:"))
    far, near = LitData(f"local:{packed}", WINDOW), LitData(str(packed), WINDOW)
    assert far.place == f"local:{packed}"
    assert same(far, near, "val") == 32


def test_a_run_that_is_resumed_goes_on_exactly(packed):
    def batches(data) -> list[torch.Tensor]:
        return [batch.frames for batch in islice(data.train_dataloader(), 6)]

    made = lambda: LitData(str(packed), WINDOW, batch_size=4)  # noqa: E731
    whole, first, later = made(), made(), made()
    expected = batches(whole)
    loader = iter(first.train_dataloader())
    head = [next(loader).frames for _ in range(2)]
    later.load_state_dict(first.state_dict())
    loader = iter(later.train_dataloader())
    rest = [next(loader).frames for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(expected, head + rest, strict=True))
    assert len({frames.numpy().tobytes() for frames in expected}) == 6


def test_in_worker_processes(packed):
    with_workers = LitData(str(packed), WINDOW, batch_size=4, num_workers=2)
    alone = LitData(str(packed), WINDOW, batch_size=4)
    pairs = zip(with_workers.val_dataloader(), alone.val_dataloader(), strict=True)
    assert [torch.equal(a.frames, b.frames) for a, b in pairs] == [True] * 2
    episode = alone.split("train")[0]
    again = pickle.loads(pickle.dumps(episode.read))
    assert np.array_equal(again([36, 0, 16]), episode.read([36, 0, 16]))


def test_a_worker_that_starts_while_a_thread_reads(packed):
    """A fork keeps the lock as it is, and nobody in the new process would let go of it."""
    read = LitData(str(packed), WINDOW).split("train")[0].read
    read([0])
    worker = multiprocessing.get_context("fork").Process(target=read, args=([0, 36],))
    with module._reader(f"{packed}/frames", os.getpid()).lock:
        worker.start()
    worker.join(30)
    assert worker.exitcode == 0


def test_each_of_many_data_sets_is_opened_once(packed, tmp_path, monkeypatch):
    opened, places = module._opened, []
    monkeypatch.setattr(module, "_opened", lambda place: (places.append(place), opened(place))[1])
    for k in range(12):
        (tmp_path / f"{k}").symlink_to(packed)
    sets = [LitData(str(tmp_path / f"{k}"), WINDOW) for k in range(12)]
    reads = [data.split("train")[0].read for data in sets]
    for _ in range(3):
        assert len({read([20]).tobytes() for read in reads}) == 1
    assert sorted(places) == sorted(f"{s.place}/{n}" for s in sets for n in ("frames", "labels"))


def test_packing_goes_on(rooms, packed, tmp_path, monkeypatch):
    """Chunks of two blocks; one is missing, one damaged: these are written, and no other."""
    monkeypatch.setattr(packing, "CHUNK", 2 * module.BLOCK * 3 * 8 * 8)
    folder = tmp_path / "packed"
    pack_litdata(rooms, folder, (8, 8), progress=False)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (folder / "frames").iterdir()}
    assert len(list((folder / "frames").glob("chunk-0-*.bin"))) == 8
    (folder / "frames/index.json").unlink()
    (folder / "frames/part-00001.json").unlink()
    damaged = folder / "frames/chunk-0-2.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    pack_litdata(rooms, folder, (8, 8), progress=False)
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (folder / "frames").iterdir()}
    assert {p.name: text for p, (_, text) in after.items()} == {
        p.name: text for p, (_, text) in before.items()
    }
    anew = {p.name for p in after if after[p][0] != before[p][0]}
    told = {"chunk-0-1.bin", "chunk-0-2.bin", "part-00001.json", "part-00002.json", "index.json"}
    assert anew == told
    assert same(LitData(str(folder), WINDOW), LitData(str(packed), WINDOW), "train") == 96


def test_the_verb_and_the_recipe(rooms, tmp_path, capsys):
    recipe = tmp_path / "rooms.yaml"
    window = {"horizon": 5, "height": 8, "width": 8}
    arguments = {"root": rooms.root, "window": window, **OPTIONS}
    text = {"data": {"class_path": "egowm.data.Rooms", "init_args": arguments}}
    recipe.write_text(json.dumps(text))
    words = ["data", "pack", str(recipe), str(tmp_path / "out"), "--to", "litdata"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "5 episodes, 185 frames of 8x8" in out
    assert f"--data egowm.data.LitData --data.root {tmp_path / 'out'}" in out
    assert cli.main(words) == 0  # what is there is kept
    assert isinstance(open_folder(tmp_path / "out"), LitData)
    capsys.readouterr()
    assert cli.main(["data", "check", str(tmp_path / "out")]) == 0
    assert "0 errors" in capsys.readouterr().out


def test_what_is_refused(rooms, packed, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"looked for .*none/labels/index.json"):
        LitData(str(tmp_path / "none"), WINDOW).split("train")
    with pytest.raises(ValueError, match="holds frames of 8x8"):
        LitData(str(packed), Window(height=16, width=16)).windows("train", tiled=True)
    with pytest.raises(FileExistsError, match="holds other recordings, or the same at another"):
        pack_litdata(rooms, packed, (16, 16), progress=False)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'egowm\[litdata\]'"):
        LitData(str(packed), WINDOW)


@pytest.mark.parametrize("text", ["{", '{"chunks": [], "config": null}', '{"chunks": [{}]}', "7"])
@pytest.mark.parametrize("folder", ["frames", "labels"])
def test_a_damaged_index_is_one_sentence(text, folder, packed, tmp_path):
    shutil.copytree(packed, tmp_path / "copy")
    (tmp_path / f"copy/{folder}/index.json").write_text(text)
    with pytest.raises(VideoError, match=f"copy/{folder}: litdata cannot read block 0"):
        LitData(str(tmp_path / "copy"), WINDOW).split("train")[0].read([0])


def test_damage_is_seen(packed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(packed, copy)
    file = copy / "frames/chunk-0-0.bin"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # of the last frame of the last episode
    file.write_bytes(data)
    read = LitData(str(copy), WINDOW)
    assert read.split("train")[0].read([0]).shape == (1, 8, 8, 3)
    with pytest.raises(VideoError, match="block 14 changed since it was packed"):
        read.split("test")[0].read([36])
    with pytest.raises(VideoError, match=r"expected frames from 0 to 36, got \[37\]"):
        read.split("train")[0].read([37])
