"""The benchmarks of what a plan costs: windows of latents, and memory."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import timing
from benchmarks.planning import decode_window, memory

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.long
def test_windows_of_latents(tmp_path, monkeypatch, capsys):
    """The whole chunk is exact, less of it is not, and an image decoder needs none."""
    monkeypatch.setattr(timing, "MIN_SECONDS", 0.0)
    path = tmp_path / "decode-window.json"
    argv = ["--windows", "1", "3", "--rooms", "1", "--frames", "3", "--size", "32"]
    argv += ["--repeats", "1", "--device", "cpu", "--results", str(tmp_path)]
    assert decode_window.main(argv) == 0
    record = json.loads(path.read_text())
    one, whole = record["rows"]
    assert (one["window"], whole["window"]) == (1, 3)
    assert one["grey_levels"] > 0.1 > 1e-4 > whole["grey_levels"]
    assert one["psnr"] < 60 < whole["psnr"]
    assert record["settings"]["scale"]["the frame before"]["grey_levels"] > 0.1
    assert decode_window.main(["--pretrained", str(ROOT / "priors/rooms-svd")]) == 2
    assert "frame by frame" in capsys.readouterr().err
    assert decode_window.main(["--windows", "0"]) == 2


def test_errors_by_hand():
    """Half of the values are 51 grey levels off, what is beyond white counts as white."""
    exact = torch.ones(1, 1, 3, 2, 2)
    found = exact.clone()
    found[..., 0], found[..., 1] = 0.6, 1.7
    measured = decode_window.errors(found, exact)
    assert measured["grey_levels"] == pytest.approx(25.5, abs=1e-3)
    assert measured["psnr"] == pytest.approx(16.9897, abs=1e-3)  # 10 log10(255^2 / (51^2 / 2))


@pytest.mark.long
def test_memory_of_plans(tmp_path, capsys):
    path = tmp_path / "planning-memory.json"
    argv = ["--candidates", "3", "2", "--frames", "1", "--micro_batch", "2", "--device", "cpu"]
    assert memory.main([*argv, "--results", str(tmp_path)]) == 0
    record = json.loads(path.read_text())
    assert [row["candidates"] for row in record["rows"]] == [2, 3]
    few, more = (row["bytes"] for row in record["rows"])
    assert 0 <= few <= more
    assert record["settings"]["model"] == "rooms-world-model"
    assert memory.main(["--candidates", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
