"""`egowm-scs score --gate`: a score held against an earlier one, and the status for CI."""

import json
import shutil

import pytest

from egowm.commands.scs.main import main
from egowm.scs.gate import is_worse, verdict, worse
from egowm.video import write_frames
from tests.scs.conftest import World, draw, moving


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Twelve clips of which every third stands still."""
    return World(tmp_path_factory.mktemp("gate"), num_clips=12, num_frames=3)


@pytest.fixture(scope="module")
def baseline(world):
    path = world.root / "baseline.json"
    assert main([*score(world), "--json", str(path)]) == 0
    return path


def score(world, pred=None, tracker="palette") -> list[str]:
    folders = [str(pred or world.pred), str(world.gt), "--annotations", str(world.annotations)]
    return ["score", *folders, "--tracker", tracker]


@pytest.mark.long
def test_the_same_videos_pass(world, baseline, capsys):
    assert main([*score(world), "--gate", str(baseline)]) == 0
    assert "gate: passed, none of 3 values is worse" in capsys.readouterr().out


def test_worse_videos_do_not(world, baseline, tmp_path, capsys):
    """Every prediction now runs the wrong way; better ones pass."""
    for name in world.truth:
        write_frames(tmp_path / "bad" / name, draw(moving((1, 2, 1), 3)[:, :, ::-1]))
    assert main([*score(world, tmp_path / "bad"), "--gate", str(baseline)]) == 4
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("gate: ")]
    assert [line.split()[1] for line in lines] == ["scs", "scs_davis", "scs_visible"]
    before = json.loads(baseline.read_text())["scs"]
    after = float(lines[0].split()[6])
    assert f"gate: scs is worse, {before:.1f} to " in lines[0]
    assert after < before
    assert main([*score(world, world.gt), "--gate", str(baseline)]) == 0


def test_a_score_does_not_replace_its_baseline(world, baseline, capsys):
    before = baseline.read_bytes()
    told = ["--gate", str(baseline), "--json", str(baseline)]
    assert main([*score(world, world.gt), *told]) == 2
    assert "must not replace its own baseline" in capsys.readouterr().err
    assert baseline.read_bytes() == before


@pytest.mark.long
def test_a_baseline_is_looked_at_before_anything_is_tracked(
    world, baseline, tmp_path, capsys, monkeypatch
):
    def track(*given):
        raise AssertionError("tracked")

    few = World(tmp_path / "few", num_clips=3, num_frames=3)
    assert main([*score(few), "--json", str(tmp_path / "few.json")]) == 0
    fewer = tmp_path / "fewer"
    for name in ("pred", "gt", "annotations"):
        shutil.copytree(world.root / name, fewer / name)
    shutil.rmtree(fewer / "pred/clip3")
    shutil.rmtree(fewer / "gt/clip3")
    (tmp_path / "no.json").write_text('{"scs": 1}')
    other = World(tmp_path / "other", num_clips=12, num_frames=4)
    monkeypatch.setattr("egowm.scs.trackers.palette.PaletteTracker.track", track)
    monkeypatch.setattr("egowm.scs.trackers.flow.FlowTracker.track", track)
    cut = ["score", str(fewer / "pred"), str(fewer / "gt"), "--tracker", "palette"]
    cut += ["--annotations", str(fewer / "annotations")]
    for command, path, words in (
        (score(world), tmp_path / "none.json", "none.json"),
        (score(world), tmp_path / "no.json", "expected what `egowm-scs score --json` writes"),
        (score(world), tmp_path / "few.json", "needs at least 10 clips with a score, the baseline"),
        (
            score(world, tracker="flow"),
            baseline,
            "the baseline has the tracker palette, this scoring has the tracker flow: score as the "
            "baseline was, or make a new one with --json.",
        ),
        (cut, baseline, "1 clip is not in both: clip3. Score what the baseline was scored on."),
        (
            score(other),
            baseline,
            "has clips of its lengths, this scoring has clips of other lengths",
        ),
    ):
        assert main([*command, "--gate", str(path)]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_other_structures_are_refused(world, baseline, tmp_path, capsys):
    """They are read clip by clip, so this is said in the end, and the score is printed before."""
    shutil.copytree(world.annotations, tmp_path / "drawn")
    shutil.copyfile(world.annotations / "clip1.png", tmp_path / "drawn/clip1.png")
    from egowm.scs.masks import read_palette, write_palette

    ids = read_palette(tmp_path / "drawn/clip0.png")
    ids[ids == 3] = 0
    write_palette(tmp_path / "drawn/clip0.png", ids)
    command = score(world)
    command[command.index("--annotations") + 1] = str(tmp_path / "drawn")
    assert main([*command, "--gate", str(baseline)]) == 2
    told = capsys.readouterr()
    assert "under different protocols" in told.err
    assert "SCS" in told.out


def test_the_rule():
    assert is_worse(-1.0, (-2.0, -0.1), 1)
    assert not is_worse(-1.0, (-2.0, 0.1), 1)
    assert not is_worse(-0.04, (-0.05, -0.03), 1)
    assert not is_worse(-1.0, None, 1)
    assert is_worse(1.0, (0.5, 2.0), 1, higher_is_better=False)
    assert not is_worse(float("nan"), None, 1)
    assert worse("scs", 50.0, 48.5, (-2.0, -1.0), 1) == (
        "scs is worse, 50.0 to 48.5 (-1.5, 95% [-2.0, -1.0])"
    )
    assert verdict([], 1) == "gate: passed, none of 1 value is worse"
