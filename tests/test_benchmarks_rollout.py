"""The benchmark of rollouts: what is compared is equal. Nothing here depends on speed."""

import json

import pytest
import torch

from benchmarks import timing
from benchmarks.speed import rollout

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")


@pytest.fixture(autouse=True)
def stopwatch(monkeypatch):
    """2 videos for 16, and a stopwatch that shows what it is told."""
    small = [c._replace(num_videos=min(2, c.num_videos)) for c in rollout.COMPARISONS]
    monkeypatch.setattr(rollout, "COMPARISONS", small)
    found = timing.Timing(1.0, 0.9, 1.1, 2.0, 2.0, 1, 1)
    monkeypatch.setattr(rollout, "compare", lambda ours, theirs, repeats: found)
    # frames decoded at once
    monkeypatch.setattr(rollout, "seconds", lambda run: float(run.args[1]))


@pytest.mark.long
def test_every_comparison_is_of_equal_videos(tiny_prior, tmp_path, capsys):
    path = tmp_path / "rollout.json"
    options = [
        "--prior",
        str(tiny_prior),
        "--steps",
        "2",
        "--device",
        "cpu",
        "--results",
        str(tmp_path),
    ]
    assert rollout.main(options) == 0
    record = json.loads(path.read_text())
    assert record["settings"]["height"] == record["settings"]["width"] == 16
    assert record["settings"]["decoder"] == "AutoencoderKLTemporalDecoder"
    rows = [(row["guidance"], row["name"], row["target"]) for row in record["rows"]]
    expected = [("one rollout", 0.97), ("16 action sequences", 1.3), ("16 action sequences", 1.0)]
    assert rows == [(g, *row) for g in (1.0, 2.0) for row in expected]
    assert {row["stock_decode_chunk_size"] for row in record["rows"]} == {4}  # one whole video
    shown = "| CPU | 1 | 16 action sequences | 16 calls | 1.00 (0.90 to 1.10), missed | 1.3 |"
    assert shown in capsys.readouterr().out


@pytest.mark.long
def test_an_image_decoder_is_given_its_faster_size(tiny_prior, monkeypatch):
    """With a temporal decoder in its place, decoding 8 frames as one video is found out."""
    model, stock = rollout.load(str(tiny_prior), 4, "cpu")
    contest = rollout.Contest(model, stock, rollout.picture_of(model, 0), 1, 1.0, 0)
    monkeypatch.setattr(model.backbone.codec, "decodes_in_time", False)
    monkeypatch.setattr(rollout, "check_same", lambda ours, theirs: None)
    monkeypatch.setattr(model.backbone.codec, "decode", lambda x: torch.zeros(2, 4, 3, 16, 16))
    assert rollout.prepare(contest, rollout.COMPARISONS[2])[2] == 4
    monkeypatch.setattr(rollout, "seconds", lambda run: -float(run.args[1]))
    assert rollout.prepare(contest, rollout.COMPARISONS[2])[2] == 8


def test_different_videos_are_not_timed(tiny_prior, tmp_path, capsys, monkeypatch):
    load = rollout.load

    def disobedient(*arguments):
        model, stock = load(*arguments)
        torch.nn.init.normal_(model.action_embedding.linear_2.weight, std=0.3)
        return model, stock

    monkeypatch.setattr(rollout, "load", disobedient)
    monkeypatch.setattr(rollout, "compare", None)
    options = ["--prior", str(tiny_prior), "--steps", "1", "--device", "cpu"]
    assert rollout.main([*options, "--results", str(tmp_path)]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("python -m")]
    assert line.startswith(
        "python -m benchmarks.speed.rollout: Not timed: the frames differ by up to 0."
    )
    assert not list(tmp_path.iterdir())


def test_guidance_below_1_is_refused(capsys):
    assert rollout.main(["--guidance", "0.5"]) == 2
    assert "--guidance of at least 1" in capsys.readouterr().err
