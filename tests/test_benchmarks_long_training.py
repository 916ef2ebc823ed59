"""The long training in the background: its rate, and where it goes on."""

import json
from pathlib import Path

import pytest

from benchmarks.experiment import long_training
from egowm.backbones import SVD
from egowm.own_contexts import OwnContexts


@pytest.fixture
def model(tiny_prior, spec):
    backbone = SVD(str(tiny_prior), noise_strength=0.0, noise_mean=None)
    model = long_training.LongRun(backbone, OwnContexts(0.6, 2, steps=1))
    model.spec = spec
    return model


def test_a_new_folder_counts_its_own_steps(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(long_training, "call", lambda folder, command: asked.append(command))
    long_training.stretch(tmp_path, 6000, 2000)
    long_training.stretch(tmp_path, 8000, 2000)
    steps = [c[c.index("--trainer.max_steps") + 1] for c in asked if "fit" in c]
    assert steps == ["2000", "4000"]


def test_the_rate_falls_between_the_steps_that_are_asked(tmp_path, model, monkeypatch):
    asked = []
    monkeypatch.setattr(long_training, "call", lambda folder, command: asked.append(command))
    (tmp_path / "begun_at_step").write_text("1000")
    long_training.stretch(tmp_path, 6000, 2000, (6000, 8000))
    fit = next(command for command in asked if "fit" in command)
    assert fit[fit.index("--model.init_args.fall") + 1] == "[5000, 7000]"
    model.fall = (5000, 7000)
    rates = [model._rate(step) for step in (0, 99, 5000, 6000, 7000, 9000)]
    assert rates == [0.01, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_its_time_is_that_of_every_start(tmp_path):
    """Logged every 50 steps; what a stop has lost was trained, too, if by one row."""
    for number, rates in enumerate(((4.0,), (1.0, 2.0), (2.5, 5.0, 5.0), ())):
        lines = [f"{50 * k + 49},{rate},0.1" for k, rate in enumerate(rates)]
        log = tmp_path / f"lightning_logs/version_{number}/metrics.csv"
        log.parent.mkdir(parents=True)
        log.write_text("\n".join([f"step,{long_training.RATE},train/loss", *lines, "149,,"]))
    (tmp_path / "lightning_logs/version_3/metrics.csv").write_text("")
    assert long_training.trained_seconds(tmp_path) == pytest.approx(12.5 + 50 + 25 + 20 + 10 + 10)


@pytest.mark.parametrize(("rows", "seconds"), [("", 0), ("49,2.0,0.1", 25)])
def test_its_time_after_a_row_or_none(tmp_path, rows, seconds):
    (tmp_path / "metrics.csv").write_text(f"step,{long_training.RATE},train/loss\n{rows}")
    assert long_training.trained_seconds(tmp_path) == seconds


def test_the_model_that_ships_is_found_by_its_weights(tmp_path, monkeypatch, capsys):
    """The record may be ahead of it; a new folder would start from it, not from the last row."""
    monkeypatch.setattr(long_training, "weights_sha256", lambda folder: "b")
    rows = [{"steps": k, "seconds": 0, "weights": name} for k, name in enumerate("abc")]
    assert long_training.shipped(rows)["steps"] == 1
    with pytest.raises(ValueError, match=r"expected a row of the weights that ship, b\.\.\."):
        long_training.shipped(rows[:1])
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"rows": rows}))
    assert long_training.main(["--folder", str(tmp_path / "new"), "--record", str(record)]) == 2
    told = capsys.readouterr().err
    assert "behind the last row" in told
    assert "ship its export first" in told


def test_a_folder_goes_on_with_the_record_that_it_was_begun_with():
    rows = [{"steps": 0, "seconds": 0.0}, {"steps": 2000, "seconds": 900}]
    assert long_training.seconds_at(rows, 2000, Path("a.json")) == 900
    with pytest.raises(ValueError, match=r"began at step 500, of which a\.json has no row"):
        long_training.seconds_at(rows, 500, Path("a.json"))
