"""On a full disk what was written before stays, and nothing half-written is left."""

import errno
from pathlib import Path

import numpy as np
import pytest

from egowm import files
from egowm.checksums import read_sums, write_sums
from egowm.data import VideoCSV, Window, label_index
from egowm.data.packing import pack
from egowm.video import write_mp4
from egowm.worlds.motion import Disturbances
from egowm.worlds.store import make_recording

SIZE = (16, 16)


@pytest.fixture
def data(tmp_path: Path) -> VideoCSV:
    root = tmp_path / "data"
    root.mkdir()
    for k in range(3):
        rows = "\n".join(f"{j},{j + k}" for j in range(6))
        (root / f"run_{k}.csv").write_text(f"time [s],turn\n{rows}")
        write_mp4(root / f"run_{k}.mp4", np.full((6, 32, 32, 3), 40 * k, np.uint8), 1)
    return VideoCSV(str(root), Window(horizon=2), val_share=0, test_share=0)


def fill_the_disk(monkeypatch, name: str) -> None:
    """From now on no file or folder whose name ends so comes to lie on the disk."""
    sync = files._sync

    def full(path: Path) -> None:
        if path.name.endswith(name):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sync(path)

    monkeypatch.setattr(files, "_sync", full)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["pack.json", "SHA256SUMS", "actions.npy", "00001.npy"])
def test_a_pack(data, tmp_path, monkeypatch, name):
    output = tmp_path / "pack"
    pack(data, output, SIZE, 1, progress=False)
    before = contents(output)
    for path in output.rglob("00001.npy"):  # so that it is written again
        path.unlink()
    fill_the_disk(monkeypatch, name)
    with pytest.raises(OSError, match="No space left"):
        pack(data, output, SIZE, 1, progress=False)
    lost = {path for path in before if path.endswith("00001.npy") and path.endswith(name)}
    assert contents(output) == {path: before[path] for path in before.keys() - lost}
    monkeypatch.undo()
    pack(data, output, SIZE, 1, progress=False)
    assert contents(output) == before


def test_checksums(tmp_path, monkeypatch):
    write_sums(tmp_path, {"a": "0" * 64})
    fill_the_disk(monkeypatch, "SHA256SUMS")
    with pytest.raises(OSError, match="No space left"):
        write_sums(tmp_path, {"a": "1" * 64})
    assert read_sums(tmp_path) == {"a": "0" * 64}
    assert [path.name for path in tmp_path.iterdir()] == ["SHA256SUMS"]


def test_kept_labels(data, tmp_path, monkeypatch, caplog):
    """They are a warning: the labels were read, and are read again next time."""
    monkeypatch.setattr(label_index, "FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(label_index, "FEWEST", 2)
    expected = data.episodes("train")
    before = contents(tmp_path / "kept")
    (tmp_path / "data/run_1.csv").write_text("time [s],turn\n0,5\n1,6\n")
    fill_the_disk(monkeypatch, ".npz")
    episodes = data.episodes("train")
    assert episodes[1].actions.tolist() == [[5.0]]
    np.testing.assert_array_equal(episodes[2].actions, expected[2].actions)
    assert "labels are not kept" in caplog.text
    assert contents(tmp_path / "kept") == before


def test_a_room(tmp_path, monkeypatch):
    fill_the_disk(monkeypatch, "room_3")
    with pytest.raises(OSError, match="No space left"):
        make_recording(tmp_path, "robot", 4, SIZE, Disturbances(), "", 3)
    assert list(tmp_path.iterdir()) == []
