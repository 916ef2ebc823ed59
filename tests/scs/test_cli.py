import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.video import read_frames, write_frames


def arguments(world, *more, tracker="palette"):
    folders = ["score", str(world.pred), str(world.gt), "--annotations", str(world.annotations)]
    return [*folders, "--tracker", tracker, *map(str, more)]


def refused(capsys, argv):
    """The one line of an exit status 2."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("egowm-scs: ")
    assert err.count("\n") == 1
    return err


def test_score_prints_a_table_and_writes_json(world, capsys, tmp_path):
    file = tmp_path / "scs.json"
    assert main(arguments(world, "--ceiling_codec", world.gt, "--json", file)) == 0
    found, out = json.loads(file.read_text()), capsys.readouterr().out
    want = world.expected()
    assert found["scs"] == pytest.approx(want.scs, abs=1e-4)
    lines = out.splitlines()
    assert lines[0] == f"SCS {want.scs:.1f}   no interval below 10 clips (3 here)"
    assert found["fingerprint"][:12] in lines[1]
    names = [line.split("  ")[0] for line in lines[4:7]]
    assert names == ["copy", "prediction", "ceiling (codec)"]
    row = [f"{v:.1f}" for v in (want.scs, want.scs_davis, want.scs_visible, want.scs_at[2])]
    assert lines[5].split()[1:5] == row
    assert lines[5].split()[-2:] == ["-", "-"]
    assert "both empty 0.0%" in out
    assert f"normalised (copy 0, ceiling 1): {found['normalised']:.3f}" in out


def test_a_tracker_warns_once(world, capsys, caplog, monkeypatch):
    monkeypatch.setattr("egowm.scs.evaluate._WARNED", set())
    assert main(arguments(world, tracker="flow")) == 0
    assert (capsys.readouterr().out + caplog.text).count("blind to structures") == 1


def test_with_an_interval_the_prediction_stands_first(make_world, capsys):
    assert main(arguments(make_world(num_clips=10))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "95% over 10 clips" in lines[0]
    assert lines[4].startswith("prediction")


def test_trajectories(make_world, capsys, tmp_path):
    world = make_world(num_clips=10)
    file = tmp_path / "trajectories.json"
    file.write_text(json.dumps(dict.fromkeys(world.truth, "a")))
    assert main(arguments(world, "--trajectories", file)) == 0
    assert "no interval below 10 trajectories (1 here)" in capsys.readouterr().out
    file.write_text("[1")
    assert "not JSON" in refused(capsys, arguments(world, "--trajectories", file))
    file.write_text("[1]")
    assert "expected {" in refused(capsys, arguments(world, "--trajectories", file))


def test_masks_tracker(world, capsys):
    world.write_masks(world.root / "saved")
    saved = world.root / "saved"
    argv = ["score", str(saved / "pred"), str(saved / "gt"), "--tracker", "masks"]
    assert main(argv) == 0
    assert f"SCS {world.expected().scs:.1f}" in capsys.readouterr().out


def test_fail_under(world, capsys):
    assert main(arguments(world, "--fail_under", 1)) == 0
    assert main(arguments(world, "--fail_under", 99.5)) == 1
    assert "is below 99.5" in capsys.readouterr().err


def test_no_number_to_fail_under_is_refused_before_anything_is_tracked(world, capsys):
    told = refused(capsys, [*arguments(world), "--fail_under", "nan"])
    assert "Expected a number as --fail_under, got nan" in told


def test_tracker_must_be_named(world, capsys):
    assert "Give --tracker" in refused(capsys, arguments(world)[:-2])
    err = refused(capsys, arguments(world, tracker="sam"))
    assert "palette, moog, flow, masks, copy, oracle or a class path, got 'sam'" in err
    assert "Cannot import" in refused(capsys, arguments(world, tracker="egowm.scs.nothing.At"))
    err = refused(capsys, arguments(world, tracker="egowm.scs.score.Overlap"))
    assert "to be a Tracker" in err


def test_class_path_is_a_tracker(world):
    assert main(arguments(world, tracker="egowm.scs.trackers.palette.PaletteTracker")) == 0


def test_annotations_are_required_for_frames(world, capsys):
    argv = arguments(world)
    err = refused(capsys, [*argv[:3], *argv[5:]])
    assert "--annotations DIR with DIR/<clip>.png or DIR/<clip>/00000.png" in err


def test_bad_folders(world, capsys, tmp_path):
    shutil.rmtree(world.pred / "clip0")
    clip1 = read_frames(world.pred / "clip1")
    write_frames(world.pred / "clip1", clip1[:-1])
    write_frames(world.pred / "clip2", np.ascontiguousarray(clip1[:, :40]))
    write_frames(world.pred / "clip9", clip1)
    err = refused(capsys, arguments(world))
    for words in (
        "only in {gt}: clip0",
        "only in {pred}: clip9",
        "clip1 has 5 frames in {gt}, 4 in {pred} (not in both: 4)",
        "clip2 is 64x64 in {gt}, 64x40 in {pred}",
    ):
        assert words.format(gt=world.gt, pred=world.pred) in err
    shutil.rmtree(world.annotations)
    assert "no such folder" in refused(
        capsys, ["score", str(tmp_path / "no"), *arguments(world)[2:]]
    )


def test_missing_annotation(world, capsys):
    (world.annotations / "clip2.png").unlink()
    assert "no annotation in 1 of 3 clips: clip2" in refused(capsys, arguments(world))


def test_json_into_no_folder(world, capsys, tmp_path):
    err = refused(capsys, arguments(world, "--json", tmp_path / "none" / "scs.json"))
    assert "does not exist" in err


def test_no_command_prints_help(capsys):
    assert main([]) == 2
    assert "usage: egowm-scs" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    script = (
        "import sys, runpy\n"
        "sys.argv = ['egowm-scs', '--help']\n"
        "try:\n    runpy.run_module('egowm.commands.scs.main', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'cv2', 'diffusers', 'transformers', 'lightning', 'torchmetrics'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: egowm-scs" in done.stdout


def test_module_runs_as_a_command():
    command = [sys.executable, "-m", "egowm.commands.scs.main", "score", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--ceiling_codec" in done.stdout
