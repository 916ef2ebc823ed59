import json

import numpy as np
import pytest

from egowm.commands.scs.main import main
from egowm.scs import score_folders
from egowm.scs.bootstrap import interval, two_level


@pytest.fixture
def pair(make_world, tmp_path):
    """A prediction and the truth itself, on 12 clips."""
    world = make_world(num_clips=12)
    for name, pred in (("a", world.pred), ("b", world.gt)):
        result = score_folders(pred, world.gt, world.annotations, tracker="palette")
        result.save(tmp_path / f"{name}.json")
    return tmp_path / "a.json", tmp_path / "b.json"


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_paired_difference(pair, capsys, tmp_path):
    argv = ["compare", *map(str, pair), "--json", str(tmp_path / "c.json")]
    assert main(argv) == 0
    first, second = ([c["scs"] for c in json.loads(p.read_text())["clips"]] for p in pair)
    difference = np.array(second) - np.array(first)
    found = json.loads((tmp_path / "c.json").read_text())["rows"][0]
    assert found["difference"] == pytest.approx(difference.mean())
    assert found["ci95"] == pytest.approx(interval(difference))
    out = capsys.readouterr().out
    assert f"{difference.mean():+.1f}" in out
    assert "95% over 12 clips (12 clips), paired" in out
    assert "at least 3 training runs" in out


def test_methods_are_compared_over_runs_and_clips(pair, capsys, tmp_path):
    runs = {}
    for side, path in zip("ab", pair, strict=True):
        record = json.loads(path.read_text())
        for k in range(2):
            clips = [c | {"scs": c["scs"] - 3 * k - 1} for c in record["clips"]]
            runs[side, k] = tmp_path / f"{side}{k}.json"
            runs[side, k].write_text(json.dumps(record | {"clips": clips}))
    more = ["--a_runs", str(runs["a", 0]), str(runs["a", 1])]
    argv = ["compare", *map(str, pair), *more, "--b_runs", str(runs["b", 0])]
    assert main(argv) == 2
    assert "at least 3 training runs of each method, or one of each, got 3 and 2" in (
        capsys.readouterr().err
    )
    out = tmp_path / "c.json"
    assert main([*argv, str(runs["b", 1]), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    first, second = (np.array([c["scs"] for c in json.loads(p.read_text())["clips"]]) for p in pair)
    drops = np.array([0, 1, 4])[:, None]
    row = found["rows"][0]
    assert row["difference"] == pytest.approx((second - first).mean())
    assert row["ci95"] == pytest.approx(two_level(first - drops, second - drops))
    assert found["num_runs"] == [3, 3]
    text = capsys.readouterr().out
    assert "95% over 3 and 3 training runs, and over 12 clips (12 clips)" in text
    assert "A claim about methods" not in text


def test_clips_of_one_trajectory_are_drawn_together(pair, capsys):
    for path in pair:
        clips = json.loads(path.read_text())["clips"]
        change(path, clips=[c | {"trajectory": str(k % 4)} for k, c in enumerate(clips)])
    assert main(["compare", *map(str, pair)]) == 0
    assert "no interval below 10 trajectories (4 here)" in capsys.readouterr().out


def test_another_protocol_is_refused_and_another_environment_is_not(pair, capsys, caplog):
    protocol = json.loads(pair[0].read_text())["protocol"]
    change(pair[1], environment={"numpy": "1.0"})
    assert main(["compare", *map(str, pair)]) == 0
    assert "the environments differ: numpy" in caplog.text
    other = protocol | {"tracker": {"name": "flow", "options": {}}}
    change(pair[1], fingerprint="0" * 64, protocol=other)
    assert main(["compare", *map(str, pair)]) == 2
    assert (
        "do not compare: the tracker palette and the tracker flow. Score both"
        in capsys.readouterr().err
    )
    change(pair[1], **{k: json.loads(pair[0].read_text())[k] for k in ("fingerprint", "protocol")})
    change(pair[1], clips=json.loads(pair[1].read_text())["clips"][1:])
    assert main(["compare", *map(str, pair)]) == 2
    assert "1 clip is not in both files: clip0" in capsys.readouterr().err
