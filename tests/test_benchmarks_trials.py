"""Trials of one change each: what is run, what is kept, and what the table says."""

import json

import pytest
import yaml

from benchmarks.experiment import trials
from benchmarks.tables.trials import trials as table
from egowm.commands.main import main


def test_each_trial_is_run_once_and_those_in_the_record_stay(tmp_path, monkeypatch):
    asked, measured = [], []

    def call(folder, command):
        asked.append(command)
        config = folder / "lightning_logs/version_0/config.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.touch()

    monkeypatch.setattr(trials, "call", call)
    monkeypatch.setattr(trials, "measured", lambda e: measured.append(e) or row(50.0))
    record = tmp_path / "trials.json"
    names = list(trials.TRIALS)
    record.write_text(json.dumps({"rows": [{"trial": name} | row(1.0) for name in names[:-2]]}))
    trials.main(["--folder", str(tmp_path / "runs"), "--record", str(record)])
    kept = json.loads(record.read_text())
    assert [r["trial"] for r in kept["rows"]] == names
    assert [r["scs"] for r in kept["rows"]] == [1.0] * (len(names) - 2) + [50.0] * 2
    assert kept["commit"]
    fits = [command for command in asked if "fit" in command]
    for name, fit in zip(names[-2:], fits, strict=True):
        assert " ".join(trials.TRIALS[name]) in " ".join(fit)
        assert fit[fit.index("--trainer.max_steps") + 1] == "600"
        assert fit[fit.index("--ckpt_path") + 1] == "last"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
def test_the_long_recipe_of_today_does_not_reach_into_the_trials(tmp_path, monkeypatch, capsys):
    """It goes on changing; a trial differs from the reference in what its name says alone."""
    asked = []

    def model(name: str) -> dict:
        with pytest.raises(RuntimeError):
            trials.train(name, tmp_path, 600)
        with pytest.raises(SystemExit):
            main([*asked[-1][1:], "--print_config"])
        return yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]

    def stop(folder, command):
        asked.append(command)
        raise RuntimeError

    monkeypatch.setattr(trials, "call", stop)
    monkeypatch.chdir(trials.ROOT)
    reference, other = model(trials.AS_IS), model("a pseudo-Huber loss, c = 0.1")
    assert (reference["huber"], reference["augmentation"]) == (None, None)
    assert reference["own_contexts"] == {"share": 0.6, "deepest": 6, "steps": 1}
    assert reference["backbone"]["init_args"]["predicts"] == "frames"
    assert other == reference | {"huber": 0.1}


def test_the_table_compares_clip_by_clip_with_the_reference(tmp_path):
    assert "not yet measured" in table(tmp_path)
    origin = {"command": "c", "commit": "a" * 40, "dirty": False, "seed": 7, "date": "2026-01-01"}
    origin |= {"device_name": "m", "threads": 1, "versions": {}}
    rows = [
        {"trial": trials.BEFORE, **row(45.0)},
        {"trial": trials.AS_IS, **row(50.0)},
        {"trial": "mirrored clips", **row(51.5)},
    ]
    places = [{key: origin[key] for key in ("commit", "dirty")} | {"device_name": k} for k in "mmn"]
    rows = [place | row for place, row in zip(places, rows, strict=True)]
    (tmp_path / "trials.json").write_text(json.dumps(origin | {"rows": rows}))
    lines = table(tmp_path).splitlines()
    assert lines[2].startswith("| before | 45.0 | | 45.0 |")
    assert lines[3].startswith("| reference | 50.0 | | 50.0 |")
    assert lines[4].startswith("| mirrored clips | 51.5 | +1.5 [+1.5 to +1.5] | 51.5 |")
    assert lines[-3] == "Rows measured at commit aaaaaaaaaa, on m: before; reference."
    assert lines[-1] == "Rows measured at commit aaaaaaaaaa, on n: mirrored clips."


def row(scs):
    frames = {str(k): scs for k in (2, 4, 8, 16)}
    other = {"gain": 0.4, "still": 60.0, "stepped": 80.0}
    return {"scs": scs, "clip_scs": [scs] * 16, "scs_at": frames} | other
