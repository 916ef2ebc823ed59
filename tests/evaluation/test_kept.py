"""Predictions that are kept: shares fill a cache, and the run made of it is that of one process."""

import json

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.evaluation.evaluate import evaluate
from egowm.evaluation.kept import KEPT, Kept
from egowm.evaluation.roll_out import choose
from egowm.evaluation.rows import Row
from egowm.evaluation.stopwatch import Stopwatch

TIMES = ("seconds_per_frame", "peak_bytes")


@pytest.fixture
def command(obedient, write_recipe, rooms, tmp_path):
    """`egowm eval` of 3 clips, in batches of one."""
    obedient.save_pretrained(tmp_path / "model")
    words = ["eval", "--model", str(tmp_path / "model"), "-c", str(write_recipe())]
    return [*words, "--clips", "3", "--horizon", "2", "--steps", "1", "--actions", "true,shuffled"]


def content(folder) -> dict[str, bytes]:
    """All files of a run, the times of eval.json and what shows them left out."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    found = {name: path.read_bytes() for name, path in files.items()}
    del found["report.html"]
    record = json.loads(found["eval.json"])
    for row in record["rows"]:
        for name in TIMES:
            row.pop(name)
    return found | {"eval.json": json.dumps(record).encode()}


@pytest.mark.long
def test_shares_give_what_one_process_gives(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("egowm.evaluation.roll_out.BATCH", 1)
    cache, alone, both = tmp_path / "cache", tmp_path / "alone", tmp_path / "both"
    assert cli.main([*command, "--output", str(alone)]) == 0
    for share, count in (("1/2", "2 clips are"), ("2/2", "1 clip is")):
        assert cli.main([*command, "--cache", str(cache), "--shard", share]) == 0
        assert f"shard {share}: {count} predicted in {cache}" in capsys.readouterr().out
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    assert len(list((cache / "predictions").rglob("*.npz"))) == 9  # two rows and the codec
    assert cli.main([*command, "--cache", str(cache), "--output", str(both)]) == 0
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")} == kept
    assert content(both) == content(alone)
    times = json.loads((both / "eval.json").read_text())["rows"][0]
    assert times["seconds_per_frame"] > 0
    assert times["peak_bytes"] > 2**20


@pytest.mark.slow
@pytest.mark.long
def test_workers_evaluate_as_one_process_does(command, tmp_path):
    cache, alone, both = tmp_path / "cache", tmp_path / "alone", tmp_path / "both"
    assert cli.main([*command, "--output", str(alone)]) == 0
    launched = ["--cache", str(cache), "--launch", "local:2", "--output", str(both)]
    assert cli.main([*command, *launched]) == 0
    assert content(both) == content(alone)
    assert "3 clips are predicted" in (tmp_path / "cache.launch/1-of-2.log").read_text()
    assert "0 clips are predicted" in (tmp_path / "cache.launch/2-of-2.log").read_text()


def test_what_a_shard_needs(command, capsys, tmp_path):
    assert cli.main([*command, "--shard", "1/2"]) == 2
    assert "Give --cache DIR" in capsys.readouterr().err
    assert cli.main([*command, "--shard", "3/2", "--cache", str(tmp_path / "cache")]) == 2
    assert "expected i/n such as 1/4" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("mine")
    other = ["--cache", str(tmp_path / "mine"), "--output", str(tmp_path / "out")]
    assert cli.main([*command, *other]) == 2
    assert f"which `{KEPT.command}` did not write" in capsys.readouterr().err


def test_a_cache_needs_to_know_its_models(obedient, rooms, tmp_path):
    with pytest.raises(ValueError, match="Expected a cache with `about`"):
        evaluate([Row("pred", "m", obedient)], rooms, tmp_path / "out", horizon=2, cache=tmp_path)


def test_what_is_kept_depends_on_all_that_decides(obedient, rooms, tmp_path, caplog):
    """Other clips, noise, actions or weights make others; a damaged file is made again."""
    made = []
    clips = choose(rooms.with_horizon(2), 2)

    def frames(clip, what, about="a", seconds=0.5):
        def make():
            made.append(what)
            watch.seconds.append(seconds)
            return batch.frames[:, 1:].float() / 255

        batch = clip._replace(
            **{
                name: value[None]
                for name, value in clip._asdict().items()
                if hasattr(value, "ndim")
            }
        )
        watch = Stopwatch(obedient.device)
        found = Kept(tmp_path, {"sha256": about}).frames(batch, what, make, watch)
        assert watch.seconds == [seconds]
        return found

    first = frames(clips[0], [[1], 2])
    assert np.array_equal(frames(clips[0], [[1], 2]), first)
    assert len(made) == 1
    assert np.array_equal(first[0], clips[0].frames[1:].numpy().transpose(0, 2, 3, 1))
    frames(clips[0], [[2], 2])
    frames(clips[0], [[1], None])
    frames(clips[0], [[1], 2], about="b")
    frames(clips[1], [[1], 2])
    moved = clips[0]._replace(actions=clips[0].actions + 1)
    frames(moved, [[1], 2])
    assert len(made) == len(list(tmp_path.rglob("*.npz"))) == 6
    for file in tmp_path.rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:-20])
    assert np.array_equal(frames(clips[0], [[1], 2]), first)
    assert len(made) == 7
    assert "it is predicted again" in caplog.text
