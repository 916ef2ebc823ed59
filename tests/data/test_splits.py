"""Splits that a few recordings leave empty: found before any work, with what mends them."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from egowm.data import Mixture, VideoCSV, Window
from egowm.data.splits import Split, share_of, span
from egowm.video import write_frames

WINDOW = Window(context=1, horizon=2, height=8, width=8)


def recordings(root: Path, count: int, frames: int = 20) -> str:
    """Recordings whose pixel value is the frame's number, and whose action is the step's."""
    for number in range(count):
        pictures = np.arange(frames, dtype=np.uint8)[:, None, None, None]
        write_frames(root / f"drive_{number}", np.broadcast_to(pictures, (frames, 8, 8, 3)))
        rows = "".join(f"{k / 10},{k}\n" for k in range(frames))
        (root / f"drive_{number}.csv").write_text(f"time,turn\n{rows}")
    return str(root)


def test_shares_that_fill_all_splits_are_found():
    names = [f"drive_{k}" for k in range(5)]
    shares = Split("X", val_share=0.02, test_share=0.2).mended(names)
    assert shares is not None
    val = shares["val_share"]
    test = [name for name in names if share_of(name, "test") < shares["test_share"]]
    seen = [name for name in names if name not in test and share_of(name, "val") < val]
    assert test
    assert seen
    assert len(test) + len(seen) < 5
    lower = Split("X", val_share=val - 0.01, test_share=shares["test_share"])
    assert "val" not in {lower._split_of(name) for name in names}  # none below would do


def test_two_names_fill_no_three_splits():
    assert Split("X").mended(["a", "b"]) is None


def test_the_shares_that_are_told_mend_it(tmp_path):
    root = recordings(tmp_path, 5)
    data = VideoCSV(root, WINDOW)
    assert [name for name in ("train", "val", "test") if data.lacks(name)] == data.vacant()
    assert data.vacant()
    shares = data.splits.mended(data.recordings())
    assert shares is not None
    assert all(f"{key}: {value:g}" in data.mend("val") for key, value in shares.items())
    mended = VideoCSV(root, WINDOW, **shares)
    assert not any(mended.lacks(name) for name in ("train", "val", "test"))


def test_one_recording_is_divided_in_time(tmp_path):
    root = recordings(tmp_path, 1)
    alone = VideoCSV(root, WINDOW, actions=["turn"])
    assert "1 recording is too few to fill three splits: divide: time" in alone.mend("train")
    data = VideoCSV(root, WINDOW, actions=["turn"], divide="time", val_share=0.2, test_share=0.2)
    found = {name: data.split(name)[0] for name in ("train", "val", "test")}
    assert {name: e.name for name, e in found.items()} == {
        "train": "drive_0_00000", "val": "drive_0_00012", "test": "drive_0_00016",
    }  # fmt: skip
    assert [e.read([0])[0, 0, 0, 0] for e in found.values()] == [0, 12, 16]
    assert found["val"].actions[:, 0].tolist() == [12, 13, 14]
    assert data.vacant() == []


def test_a_recording_is_divided_without_a_rest():
    ends = [span(name, 101, 0.1, 0.25) for name in ("train", "val", "test")]
    assert ends == [(0, 66), (66, 76), (76, 101)]


def test_shares_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="leave no training records"):
        VideoCSV(str(tmp_path), WINDOW, divide="time", val_share=0.5, test_share=0.5)


def test_a_fit_is_refused_before_its_first_step(tmp_path, caplog):
    data = VideoCSV(recordings(tmp_path, 5), WINDOW, test_share=0.2, val_share=0)
    data.trainer = SimpleNamespace(limit_val_batches=1.0)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"no val clip: .* val_share: 0\.\d+.*limit_val_batches 0"):
        data.setup("fit")
    data.trainer = SimpleNamespace(limit_val_batches=0)  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert "Split val is empty: this fit is not validated. val_share: 0." in caplog.text
    none = VideoCSV(data.root, WINDOW, test_share=0.99)
    with pytest.raises(ValueError, match=r"no train clip: no recording is in this split\. val_"):
        none.setup("fit")
    short = VideoCSV(data.root, Window(horizon=40, height=8, width=8), divide="time")
    with pytest.raises(ValueError, match=r"a window needs 41 frames, got 5 episodes, the longest"):
        short.setup("fit")


def test_a_mixture_names_the_source_that_lacks_clips(tmp_path):
    parts = {name: VideoCSV(recordings(tmp_path / name, 2), WINDOW) for name in ("a", "b")}
    parts["b"].splits.test_share = parts["b"].splits.val_share = 0
    parts["a"].splits.test_share = 0.999
    assert Mixture(parts, WINDOW).lacks("train").startswith("source a: no recording is in this")


def test_few_recordings_that_fall_unevenly_are_told():
    """Five names of which two are for training, where 0.8 * 0.8 of them were meant."""
    names = [f"GOPR000{k}" for k in range(1, 6)]
    split = Split("VideoCSV", val_share=0.2, test_share=0.2)
    assert [split._split_of(name) for name in names].count("train") == 2
    assert "2 of 5 recordings for training, where the shares mean 3: " in split.uneven(names)
    assert Split("VideoCSV", val_share=0, test_share=0.2).uneven(names) == ""
    assert split.uneven([name for name in names if split._split_of(name) != "train"]) == ""
