"""`egowm predict`: a run folder that `egowm-scs` and `egowm report` take as it is."""

import json

import numpy as np
import pytest

from egowm.commands import main as cli
from egowm.commands.scs.main import main as score
from egowm.evaluation.run_folder import read_run
from egowm.scs.masks import read_palette

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
]


def test_predict_score_report(write_recipe, rooms, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = str(write_recipe())
    assert cli.main(["fit", "-c", recipe]) == 0
    checkpoint = str(tmp_path / "run/checkpoints/last.ckpt")
    assert cli.main(["predict", "-c", recipe, "--ckpt_path", checkpoint]) == 0
    folder = tmp_path / "run/predictions"
    assert {p.name for p in folder.iterdir()} == {"pred", "gt", "annotations", "clips.json"}

    run = read_run(folder)
    assert run.clips == [f"room_{20_000_000 + k}_00000" for k in range(3)]
    assert (run.source, run.model, run.fps) == ("Rooms", "WorldModel", 4.0)
    for name in run.clips:
        videos = run.videos(name)
        assert videos["gt"].shape == videos["pred"].shape == (4, 16, 16, 3)
        assert np.array_equal(videos["gt"][0], videos["pred"][0])
        assert not np.array_equal(videos["gt"][1:], videos["pred"][1:])
        episode = next(e for e in rooms.split("test") if name.startswith(e.name))
        assert np.array_equal(videos["gt"], episode.read(range(4)))
        np.testing.assert_array_equal(run.actions[name], episode.actions[:3])
        drawn = read_palette(folder / "annotations" / f"{name}.png")
        assert np.array_equal(drawn, rooms.annotation(name))

    command = ["score", str(folder / "pred"), str(folder / "gt"), "--tracker", "palette"]
    command += ["--annotations", str(folder / "annotations"), "--json", str(folder / "scs.json")]
    assert score(command) == 0
    assert 0 <= json.loads((folder / "scs.json").read_text())["scs"] <= 100
    assert cli.main(["report", str(folder)]) == 0
    assert (folder / "report.html").is_file()

    (tmp_path / "run/predictions/gt" / run.clips[0] / "00001.png").unlink()
    again = ["predict", "-c", recipe, "--ckpt_path", checkpoint, "--announced_layout", "true"]
    assert cli.main(again) == 2
    assert "holds what `egowm predict` wrote before: --force" in capsys.readouterr().err
    assert cli.main([*again, "--force"]) == 0
    assert len(read_run(folder).frames("gt", run.clips[0])) == 4
    assert not (folder / "scs.json").exists()

    announced = folder / "announced"
    clip = announced / "room_20000000" / "0_3"
    files = {p.relative_to(clip).as_posix() for p in clip.rglob("*.png")}
    shared = {f"{half}/frames/f_{k}.png" for half in ("GT", "pred") for k in (1, 2, 3)}
    assert files == {"f_0.png"} | shared
    command = ["score", str(announced), str(announced), "--tracker", "palette"]
    command += ["--annotations", f"{announced}_annotations", "--json", str(folder / "other.json")]
    capsys.readouterr()
    assert score(command) == 0
    command = ["score", str(folder / "pred"), str(folder / "gt"), "--tracker", "palette"]
    command += ["--annotations", str(folder / "annotations"), "--json", str(folder / "scs.json")]
    assert score(command) == 0
    found = [json.loads((folder / name).read_text()) for name in ("other.json", "scs.json")]
    assert found[0]["scs"] == found[1]["scs"]
    assert found[0]["clips"][0]["trajectory"] == "room_20000000"


def test_only_a_world_model_predicts(tmp_path):
    from lightning import LightningModule, Trainer

    from egowm.evaluation.prediction_writer import PredictionWriter

    writer = PredictionWriter(tmp_path / "predictions")
    with pytest.raises(ValueError, match="Expected the checkpoint of a trained WorldModel"):
        writer.on_predict_start(Trainer(accelerator="cpu", logger=False), LightningModule())
    assert not (tmp_path / "predictions").exists()
