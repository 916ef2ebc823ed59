"""The benchmark of reading clips: every format is written, opened, compared and timed."""

import json

import pytest
import torch

from benchmarks.data import listing, speed
from benchmarks.data.stable_worldmodel import MISSING
from benchmarks.tables import data
from egowm.data import label_index


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """One pass each; labels are kept in a folder of the test."""
    monkeypatch.setattr(label_index, "FOLDER", str(tmp_path / "kept"))
    monkeypatch.setattr(listing, "READ", 3)
    monkeypatch.setattr(speed, "LEAST_SECONDS", 0.0)
    # Its readers set decord's bridge and the start of processes for all that comes after.
    missing = {"stable-worldmodel": MISSING}
    monkeypatch.setattr(speed, "stable_worldmodel", lambda *about: ([], missing))


@pytest.mark.long
def test_every_format_gives_the_same_clips(tmp_path):
    """Small: every form is written, opened, compared and timed; the figures are not looked at."""
    path = tmp_path / "data.json"
    options = [
        "--sizes",
        "32",
        "--episodes",
        "2",
        "--length",
        "18",
        "--clips",
        "2",
        "--rounds",
        "1",
        "--listed",
        "3",
    ]
    assert speed.main([*options, "--results", str(tmp_path)]) == 0
    record = json.loads(path.read_text())
    names = [row["reader"] for row in record["rows"]]
    formats = ["NWM", "Recon", "DonkeyTub", "TumRgbd", "VideoCSV", "LeRobot", "OneX", "Droid"]
    assert names == [*formats, "Packed", "plain, PIL", "plain, decord", "plain, h5py"]
    held = {row["reader"]: row["bytes_per_frame"] for row in record["rows"]}
    assert 3 * 32 * 32 < held["Packed"] < 3 * 32 * 32 + 400  # with labels and index
    assert record["rows"][8]["packed_faster_warm"] == 1.0
    assert [row["episodes"] for row in record["listing"]] == [3] * 5
    assert len(record["choices"]) == 6
    shown = data.speed(tmp_path).splitlines()
    assert len([line for line in shown if line.startswith("| 32 |")]) == len(names)
    assert record["rows"][4]["faster_than"].keys() >= {"plain, decord"}
    assert "| | stable-worldmodel | | not installed: not yet measured |" in "\n".join(shown)
    assert "Nothing of stable-worldmodel's was measured beside it." in shown
    assert data.stored(tmp_path).splitlines()[2].split(" | ")[2] == "1.0"
    assert "\n\n3 episodes of 64 frames; 3 clips read." in data.listing(tmp_path)


def test_other_clips_are_not_timed():
    clips = [(torch.randint(0, 255, (4, 3, 8, 8), dtype=torch.uint8), None)]
    other = [(255 - clips[0][0], None)]
    still = [(clips[0][0][:1].expand(4, -1, -1, -1), None)]
    reader = speed.Reader("a", "JPEG", clips, [])
    speed.check_same([reader, reader])
    with pytest.raises(ValueError, match=r"Not timed: b is off by \d+"):
        speed.check_same([reader, speed.Reader("b", "mp4", other, [])])
    ramp = (6 * torch.arange(4, dtype=torch.uint8))[:, None, None, None].expand(4, 3, 8, 8)
    slow, late = [(ramp, None)], [(ramp.roll(1, 0), None)]  # off by 9 grey levels on average
    with pytest.raises(ValueError, match="frame 2 of b is frame 1"):
        speed.check_same([speed.Reader("a", "mp4", slow, []), speed.Reader("b", "mp4", late, [])])
    with pytest.raises(ValueError, match="the picture hardly moves"):
        speed.check_same([speed.Reader("a", "JPEG", still, [])])


def test_a_clip_needs_frames_and_episodes_as_long(capsys):
    assert speed.main(["--frames", "1"]) == speed.main(["--frames", "9", "--length", "8"]) == 2
    assert "--length of no less" in capsys.readouterr().err
