"""Checkpoints are whole or not there: torn files and full disks. Kills: `test_writers.py`."""

import logging
import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from egowm.training.checkpoints import (
    CheckpointError,
    RunCheckpoint,
    WholeCheckpoints,
    newest,
    read_checkpoint,
    write_checkpoint,
)


def state(number: int, size: int = 1000) -> dict:
    whole = {"state_dict": {}, "global_step": number, "loops": {}, "callbacks": {}}
    return whole | {"number": number, "weights": torch.full((size,), float(number))}


@pytest.fixture
def two(tmp_path) -> Path:
    """step=1 and step=2, the second one the newer."""
    for number in (1, 2):
        write_checkpoint(state(number), tmp_path / f"step={number}.ckpt")
        os.utime(tmp_path / f"step={number}.ckpt", (number, number))
    return tmp_path


def test_what_is_written_is_read(two):
    assert sorted(path.name for path in two.iterdir()) == ["step=1.ckpt", "step=2.ckpt"]
    found = WholeCheckpoints().load_checkpoint(two / "step=2.ckpt")
    assert found["number"] == 2
    assert torch.equal(found["weights"], torch.full((1000,), 2.0))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    """One bit in the middle of the weights."""
    content = bytearray(path.read_bytes())
    place = bytes(content).index(torch.full((4,), 2.0).numpy().tobytes()) + 100
    content[place] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_file_gives_way_to_the_one_before(two, damage, caplog):
    damage(two / "step=2.ckpt")
    os.utime(two / "step=2.ckpt", (2, 2))
    (two / "last.ckpt").symlink_to("step=2.ckpt")
    with caplog.at_level(logging.WARNING):
        assert read_checkpoint(two / "last.ckpt")["number"] == 1
    assert "step=2.ckpt is damaged" in caplog.text
    assert "Taking the checkpoint before it" in caplog.text
    damage(two / "step=1.ckpt") if damage is not flip else empty(two / "step=1.ckpt")
    os.utime(two / "step=1.ckpt", (1, 1))
    with pytest.raises(CheckpointError, match="No whole checkpoint is left"):
        read_checkpoint(two / "last.ckpt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"path": Path("x")}, tmp_path / "step=1.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        read_checkpoint(tmp_path / "step=1.ckpt")
    with pytest.raises(CheckpointError, match="read from disk"):
        read_checkpoint("http://example.org/step=1.ckpt")
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_a_full_disk_leaves_the_last_one_whole(two):
    """The system refuses bytes beyond a limit, as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(CheckpointError, match=r"Cannot write .*step=3.ckpt.*go on with"):
            write_checkpoint(state(3, size=1_000_000), two / "step=3.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(path.name for path in two.iterdir()) == ["step=1.ckpt", "step=2.ckpt"]
    assert read_checkpoint(newest(two))["number"] == 2


def test_ctrl_c_while_writing_leaves_the_last_one_whole(two, monkeypatch):
    def interrupted(checkpoint, stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(state(2), two / "step=2.ckpt")
    assert sorted(path.name for path in two.iterdir()) == ["step=1.ckpt", "step=2.ckpt"]
    assert read_checkpoint(two / "step=2.ckpt")["number"] == 2


def test_save_every_is_a_number_of_steps(tmp_path):
    with pytest.raises(ValueError, match="save_every in steps"):
        RunCheckpoint(tmp_path, -1)
