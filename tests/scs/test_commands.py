"""Every command explains itself, and the small ones do what they say."""

import argparse
import csv
import errno
import json
import os
import pathlib

import numpy as np
import pytest

from egowm.commands.scs.main import COMMANDS, _parser, main
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.video import write_frames


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: egowm-scs {command}" in capsys.readouterr().out


def test_every_option_says_what_it_is():
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(commands.choices) == set(COMMANDS)
    silent = [
        f"{name} {'/'.join(action.option_strings) or action.dest}"
        for name, parser in commands.choices.items()
        for action in parser._actions
        if len(action.help or "") < 8
    ]
    assert silent == []


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[2].rstrip(":") for line in lines} >= {"palette", "flow", "masks", "sam2"}
    assert all(line.split()[0] in ("ok", "note") for line in lines)
    assert main(["doctor", "--tracker", "palette"]) == 0
    assert "tolerance: 10.0" in capsys.readouterr().out
    assert main(["doctor", "--tracker", "sam2"]) == 2
    assert "never downloads them" in capsys.readouterr().err
    assert main(["doctor", "--tracker_dtype", "bfloat16"]) == 2
    assert "--tracker_dtype needs --tracker sam2" in capsys.readouterr().err


def test_demo(tmp_path, capsys):
    assert main(["demo", "--output", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").is_file()
    found = json.loads((tmp_path / "scs.json").read_text())
    assert 0 < found["scs"] < 100
    assert len(found["terciles"]) == 3


def masks(folder: pathlib.Path, frames: list[np.ndarray]) -> str:
    for number, labels in enumerate(frames):
        write_palette(folder / f"clip/{number:05d}.png", labels)
    return str(folder)


def test_a_score_without_a_structure_is_a_reason_and_not_a_number(tmp_path, capsys):
    """The structure of frame 0 is never seen again, in neither: every frame is left out."""
    wall, nothing = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    wall[:, 4:12] = 1
    gone = masks(tmp_path / "gone", [wall, nothing, nothing])
    stays = masks(tmp_path / "stays", [wall, wall, wall])
    out = {name: str(tmp_path / f"{name}.json") for name in ("none", "some")}
    command = ["score", "--tracker", "masks", "--json"]
    assert main([*command, out["none"], gone, gone]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "egowm-scs: no score: masks finds no structure of 1 clip in frames 1..T" in told.err
    assert main(["compare", out["none"], out["none"]]) == 2
    told = capsys.readouterr()
    assert "no clip has a score in all of them" in told.err
    assert "nan" not in told.out + told.err
    assert main([*command, out["some"], stays, stays]) == 0
    assert "nan" not in capsys.readouterr().out


def test_structures_that_the_tracker_loses_are_named_as_the_reason(tmp_path, capsys):
    """Noise shows no motion that flow could follow, there and back."""
    frames = np.random.default_rng(0).integers(0, 255, (6, 48, 48, 3), np.uint8)
    write_frames(tmp_path / "gt/clip", frames)
    write_frames(tmp_path / "pred/clip", frames)
    labels = np.zeros((48, 48), np.uint8)
    labels[8:30, 8:30] = 1
    write_palette(tmp_path / "annotations/clip.png", labels)
    words = [str(tmp_path / name) for name in ("pred", "gt")]
    annotations = ["--annotations", str(tmp_path / "annotations")]
    assert main(["score", *words, "--tracker", "flow", *annotations]) == 1
    told = capsys.readouterr().err
    assert "no score: flow finds no structure of 1 clip in frames 1..T" in told


def test_track_then_score_the_masks(world, tmp_path, capsys):
    want = score_folders(world.pred, world.gt, world.annotations, tracker="palette")
    base = ["--annotations", str(world.annotations), "--tracker", "palette", "--output"]
    assert main(["track", str(world.gt), *base, str(tmp_path / "m/gt")]) == 0
    pred = [str(world.pred), *base, str(tmp_path / "m/pred"), "--gt", str(world.gt)]
    assert main(["track", *pred]) == 0
    found = score_folders(tmp_path / "m/pred", tmp_path / "m/gt", tracker="masks")
    assert found.scs == want.scs
    assert main(["track", *pred]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert main(["track", *pred[:4], "masks", *pred[5:], "--force"]) == 2
    assert "nothing to track" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_the_table_is_printed_where_the_file_cannot_be_written(world, tmp_path, capsys, number):
    """And a place where nothing can be written is told before anything is tracked."""
    command = ["score", str(world.pred), str(world.gt), "--tracker", "palette"]
    command += ["--annotations", str(world.annotations), "--json", str(tmp_path / "scs.json")]
    assert main(command) == 0
    table, before = capsys.readouterr().out, (tmp_path / "scs.json").read_bytes()

    def fail(*given):
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == table
    assert err.splitlines()[-1] == f"egowm-scs: {os.strerror(number)}: {tmp_path / 'scs.json'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pathlib.Path, "write_bytes", fail)
        assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"egowm-scs: {os.strerror(number)}: {tmp_path / 'scs.json'}\n")
    assert (tmp_path / "scs.json").read_bytes() == before


def test_csv_holds_every_frame(world, tmp_path):
    argv = ["score", str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    file = tmp_path / "f.csv"
    assert main([*argv, "--tracker", "palette", "--csv", str(file), "--ceiling_tracker"]) == 0
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * 3 * 4
    assert rows[0]["clip"] == "clip0"
    assert rows[0]["case"] == "both_present"
    want = score_folders(world.pred, world.gt, world.annotations, tracker="palette").scs
    assert np.mean([float(row["iou"]) for row in rows]) == pytest.approx(want, abs=1e-3)
