"""Videos without tables: brought to one rate, divided, checked, and never taken for a robot's."""

from pathlib import Path

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.data import Videos, Window
from egowm.video import write_mp4
from tests.data.test_video_csv import bars, shown

WINDOW = Window(context=1, horizon=2, height=32, width=32)


@pytest.fixture
def folder(tmp_path) -> Path:
    """40 frames at 10 Hz, and 40 at 20 Hz in a folder below; a pattern is a frame's number."""
    (tmp_path / "phone").mkdir()
    write_mp4(tmp_path / "slow.mp4", bars(np.arange(40)), 10)
    write_mp4(tmp_path / "phone/fast.mp4", bars(np.arange(40)), 20)
    return tmp_path


def test_all_videos_come_at_one_rate(folder):
    data = Videos(str(folder), WINDOW, rate_hz=5.0, divide="time", val_share=0.2, test_share=0)
    fast, slow = data.split("train")
    assert (fast.name, slow.name) == ("phone_fast_00000", "slow_00000")
    assert shown(fast.read(range(3))) == [0, 4, 8]
    assert shown(slow.read(range(3))) == [0, 2, 4]
    assert [e.num_frames for e in data.split("val")] == [2, 4]
    assert shown(data.split("val")[1].read([0])) == [32]
    assert data.vacant() == []


def test_clips_have_no_actions(folder):
    data = Videos(str(folder), WINDOW, rate_hz=10.0, val_share=0, test_share=0)
    clip = data.windows("train", tiled=False)[0]
    assert clip.actions.shape == (2, 0)
    assert shown(clip.frames.permute(0, 2, 3, 1).numpy()) == [0, 2, 4]
    with pytest.raises(ValueError, match=r"without actions, .* \(egowm\.pretraining\.VideoPrior"):
        data.spec  # noqa: B018


def test_a_video_slower_than_the_rate_is_refused(folder):
    with pytest.raises(
        ValueError, match=r"slow.mp4: comes at 10 frames a second, rate_hz 20 asks for more: lower"
    ):
        Videos(str(folder), WINDOW, rate_hz=20.0, val_share=0, test_share=0).split("train")


def test_slower_videos_that_are_left_out_are_told_once(folder, caplog):
    shares = {"divide": "time", "val_share": 0.4, "test_share": 0.2}
    data = Videos(str(folder), WINDOW, rate_hz=20.0, skip_corrupt=True, **shares)
    fast = [[episode.name for episode in data.split(split)] for split in ("train", "val")]
    assert len(fast[0]) == len(fast[1]) > 0
    assert sum("slow.mp4: comes at 10" in record.message for record in caplog.records) == 1


def test_two_files_of_one_name_are_refused(folder):
    write_mp4(folder / "phone_fast.mp4", bars(np.arange(4)), 10)
    with pytest.raises(ValueError, match=r"two files of .* are called phone_fast"):
        Videos(str(folder)).recordings()


def test_a_format_that_knows_its_actions_takes_no_kind(folder, capsys):
    assert cli.main(["data", "check", str(folder), "--kind", "pose"]) == 2
    assert "this is Videos, which knows what its actions are" in capsys.readouterr().err


def test_a_folder_of_videos_is_recognised(folder, capsys):
    assert cli.main(["data", "check", str(folder), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "Videos: 2 episodes" in out
    assert "60 frames, " in out  # both at 10 Hz
    assert "actions none" in out
    assert "they serve a video prior" in out


def test_a_folder_of_no_format_says_what_was_sought_and_found(tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "drives").mkdir()
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "Looked for pack.json (Packed), frames/index.json (LitData), meta/info.json (LeRo" in err
    assert "found 1 of *.txt, 1 folder (drives)." in err
    assert "docs/data.md" in err
