"""Labels of many recordings are kept, and read again where a recording changed."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from egowm.data import (
    NWM,
    ClipData,
    LeRobot,
    Recon,
    VideoCSV,
    Window,
    label_index,
    lerobot,
    nwm,
    video_csv,
)
from egowm.data import recon as recon_file
from egowm.data.episode import Episode
from egowm.video import write_mp4

WINDOW = Window(context=1, horizon=2, height=12, width=16)
WHOLE = {"val_share": 0, "test_share": 0}
POSES = np.stack([0.2 * np.arange(6), np.zeros(6), 0.03 * np.arange(6)], 1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Few recordings count as many here, and are kept in a folder of the test."""
    monkeypatch.setattr(label_index, "FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(label_index, "FEWEST", 3)
    return tmp_path / "kept"


def write_nwm(root: Path, request) -> ClipData:
    write = request.getfixturevalue("write_trajectory")
    for k in range(4):
        write(root / f"run_{k}", POSES * (k + 1))
    return NWM(str(root), WINDOW, **WHOLE)


def write_recon(root: Path, request) -> ClipData:
    root.mkdir()
    for k in range(4):
        request.getfixturevalue("write_recon")(root / f"run_{k}.hdf5", POSES * (k + 1))
    return Recon(str(root), WINDOW, **WHOLE)


def write_tables(root: Path, request) -> ClipData:
    root.mkdir()
    for k in range(4):
        rows = [f"{j / 10},{j + k},{j - k}" for j in range(6)]
        (root / f"run_{k}.csv").write_text("\n".join(["time [s],turn,load", *rows]))
        write_mp4(root / f"run_{k}.mp4", np.full((6, 32, 32, 3), 40 * k, np.uint8), 10)
    return VideoCSV(str(root), WINDOW, states=["load"], **WHOLE)


def write_lerobot(root: Path, request) -> ClipData:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    vector = {"dtype": "float32", "shape": [2], "names": ["a", "b"]}
    features = {"front": {"dtype": "video", "shape": [32, 32, 3]}, "action": vector}
    info = {"codebase_version": "v2.1", "fps": 10, "features": features}
    info["features"]["observation.state"] = vector
    info["data_path"] = "data/{episode_index:03d}.parquet"
    info["video_path"] = "videos/{video_key}/{episode_index:03d}.mp4"
    for name in ("meta", "data", "videos/front"):
        (root / name).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = []
    for k in range(4):
        values = (np.arange(12).reshape(6, 2) + k).astype(np.float32).tolist()
        columns = {"episode_index": [k] * 6, "timestamp": np.arange(6, dtype=np.float32) / 10}
        table = pa.table(columns | {"action": values, "observation.state": values})
        parquet.write_table(table, root / f"data/{k:03d}.parquet")
        write_mp4(root / f"videos/front/{k:03d}.mp4", np.full((6, 32, 32, 3), 40 * k, np.uint8), 10)
        lines.append(json.dumps({"episode_index": k, "length": 6, "tasks": [f"task {k}"]}))
    (root / "meta/episodes.jsonl").write_text("\n".join(lines))
    return LeRobot(str(root), WINDOW, **WHOLE)


FORMATS = {
    "NWM": (write_nwm, nwm, "read_trajectory"),
    "Recon": (write_recon, recon_file, "read_episode"),
    "VideoCSV": (write_tables, video_csv, "read_table"),
    "LeRobot": (write_lerobot, lerobot, "_rows"),
}


def same(ours: Episode, theirs: Episode) -> None:
    assert (ours.name, ours.num_frames, ours.text) == (theirs.name, theirs.num_frames, theirs.text)
    assert ours.video == theirs.video
    for name in ("actions", "states", "times"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(ours.read([5, 0]), theirs.read([5, 0]))


@pytest.mark.parametrize("name", FORMATS)
def test_the_second_start_opens_nothing(name, tmp_path, request, monkeypatch, folder):
    write, module, reads = FORMATS[name]
    data = write(tmp_path / "data", request)
    first = data.episodes("train")
    assert len(first) == 4
    (file,) = folder.glob("*")
    assert file.suffix == ".npz"

    def unread(*arguments):
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr(module, reads, unread)
    second = data.episodes("train")
    for ours, theirs in zip(second, first, strict=True):
        same(ours, theirs)


def test_few_recordings_are_not_kept(tmp_path, request, monkeypatch, folder):
    monkeypatch.setattr(label_index, "FEWEST", 5)
    write_nwm(tmp_path / "data", request).episodes("train")
    assert not folder.exists()


def test_what_changed_is_read_again(tmp_path, request, monkeypatch):
    data = write_nwm(tmp_path / "data", request)
    data.episodes("train")
    read, opened = nwm.read_trajectory, []
    monkeypatch.setattr(nwm, "read_trajectory", lambda f: (opened.append(f.name), read(f))[1])
    labels = tmp_path / "data/run_1/traj_data.pkl"
    before = labels.stat().st_mtime_ns
    labels.write_bytes((tmp_path / "data/run_3/traj_data.pkl").read_bytes())
    os.utime(labels, ns=(before + 1, before + 1))
    os.utime(tmp_path / "data/run_2", ns=(5, 5))  # as when a picture comes or goes
    found = data.episodes("train")
    assert opened == ["run_1", "run_2"]
    np.testing.assert_array_equal(found[1].actions, found[3].actions)
    (tmp_path / "data/run_2/5.jpg").unlink()
    with pytest.raises(ValueError, match=r"run_2.*6 values for 5 frames"):
        data.episodes("train")
    data.skip_corrupt = True
    assert [e.name for e in data.episodes("train")] == ["run_0", "run_1", "run_3"]


def test_other_options_have_labels_of_their_own(tmp_path, request, folder):
    data = write_tables(tmp_path / "data", request)
    data.episodes("train")
    data.states, data.actions = [], ["load"]
    assert data.episodes("train")[1].actions[:, 0].tolist() == [-1, 0, 1, 2, 3]
    assert len(list(folder.glob("*.npz"))) == 2


def test_damaged_and_unwritable(tmp_path, request, folder, monkeypatch, caplog):
    data = write_recon(tmp_path / "data", request)
    expected = data.episodes("train")
    (file,) = folder.glob("*.npz")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"pickle"):
        file.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            found = data.episodes("train")
        assert "is damaged" in caplog.text
        caplog.clear()
        same(found[3], expected[3])
        assert file.read_bytes()[:2] == b"PK"
    (tmp_path / "file").touch()
    monkeypatch.setattr(label_index, "FOLDER", str(tmp_path / "file/below"))
    with caplog.at_level(logging.WARNING):
        same(data.episodes("train")[0], expected[0])
    assert "labels are not kept" in caplog.text
