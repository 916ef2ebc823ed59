"""Do scores rank models as robots do: the statistics in closed form, the models, the tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from benchmarks.experiment.room_clips import RoomClips
from benchmarks.measure import ROOT
from benchmarks.planning import arrivals_chart, scores_and_arrivals
from benchmarks.planning.graded_models import (
    GRADED,
    TRAINED_ON,
    between,
    exported,
    misled,
    noisy,
)
from benchmarks.planning.rank_agreement import (
    LOWER_IS_BETTER,
    Ranked,
    agreement,
    ranked,
    tau_b,
    with_interval,
)
from benchmarks.planning.scores_and_arrivals import FOLDER, arrivals_file, scores_file
from benchmarks.tables import scores_and_arrivals as tables
from egowm.data import Rooms, Window
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

ABOUT = {
    "command": "python", "commit": "0" * 40, "dirty": False, "seed": 0, "date": "2026-01-01",
    "device_name": "a CPU", "threads": 1, "versions": {},
}  # fmt: skip


# Statistics -------------------------------------------------------------------------------------


def test_tau_is_that_of_scipy():
    """With ties, which arrivals have."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (20, 9)), rng.integers(0, 5, (20, 9))
    expected = [kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(tau_b(a, b), expected)
    assert tau_b(np.zeros(4), np.arange(4)) == 0


def graded(noise: float = 0.0) -> Ranked:
    """Five models: one score says what arrives, one says the reverse."""
    rng = np.random.default_rng(0)
    level = np.arange(5)[:, None] / 4
    arrived = (rng.random((5, 200)) < level).astype(float)
    good = level + noise * rng.normal(size=(5, 50))
    return Ranked(tuple("abcde"), {"good": good, "bad": -good}, arrived, 1 - arrived)


def test_a_score_that_ranks_as_robots_do_agrees():
    found = agreement(graded(), lambda models: models.arrived)
    assert with_interval(found["good"]) == (1, (1, 1))
    assert with_interval(found["bad"]) == (-1, (-1, -1))


def test_noise_of_clips_widens_the_interval():
    value, (low, high) = with_interval(
        agreement(graded(noise=1.0), lambda models: models.arrived)["good"]
    )
    assert low < value <= high
    assert 0 < low < 0.9


def test_records_become_models():
    """Lower is better turns its sign, a clip without a value is left out."""
    scored = [
        ABOUT | {"name": name, "scores": {"loss": [loss, None]}}
        for name, loss in (("a", 0.1), ("b", 0.3))
    ]
    blocks = [[{"arrived": [True], "metres": [0.1]}, {"arrived": [False], "metres": [0.9]}]] * 2
    found = ranked(scored, blocks)
    np.testing.assert_array_equal(found.scores["loss"], [[-0.1, np.nan], [-0.3, np.nan]])
    np.testing.assert_array_equal(found.arrived, [[1, 0], [1, 0]])
    assert found.only([False, True]).names == ("b",)


# Models -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def earlier() -> WorldModel:
    return exported("earlier")


def first(model: WorldModel) -> torch.Tensor:
    network: Any = model.backbone.network
    return network.conv_in.weight.detach()


@pytest.mark.long
def test_a_model_between_two_has_the_mean_of_their_weights(earlier):
    third = first(between("P+", earlier, 1 / 3))
    torch.testing.assert_close(third, 2 / 3 * first(exported("P+")) + first(earlier) / 3)


def test_noise_is_a_share_of_the_deviation_and_can_be_repeated(earlier):
    weight, moved = first(earlier), first(noisy(0.1))
    assert torch.equal(moved, first(noisy(0.1)))
    share = float((moved - weight).std() / weight.std())
    assert share == pytest.approx(0.1, rel=0.1)


def test_a_misled_model_sees_other_actions_than_it_is_told(earlier):
    told = torch.tensor([[[0.2, 0.0, 0.1]]])
    picture, how = torch.rand(1, 1, 3, 64, 64), Sampling(steps=1)

    def made(model, actions):
        return model.rollout(picture, actions, how, generator=torch.manual_seed(0)).frames

    expected = made(earlier, told * torch.tensor([1.0, 1.0, -0.5]))
    torch.testing.assert_close(made(misled(1.0, 1.0, -0.5), told), expected)
    assert not torch.allclose(made(earlier, told), expected)


def test_at_least_twelve_models_of_names_of_their_own():
    assert len({g.name for g in GRADED}) == len(GRADED) >= 12
    assert {g.kind for g in GRADED} == {*arrivals_chart.COLOURS}


# Measuring, and what is shown -------------------------------------------------------------------


@pytest.mark.long
def test_one_model_is_measured(tmp_path, monkeypatch, capsys):
    """Scores and arrivals of a trained model, in as little as there is; not a second time."""
    counts = {"episodes_train": 1, "episodes_val": 1, "episodes_test": 2, "num_frames": 5}
    data = Rooms(str(tmp_path / "rooms"), Window(1, 1, 1, 64, 64), 1, **counts)
    monkeypatch.setattr(scores_and_arrivals, "unseen_clips", lambda: RoomClips(data, 2, 4))
    monkeypatch.setattr(scores_and_arrivals, "BLOCK", 1)
    monkeypatch.setattr(scores_and_arrivals, "CANDIDATES", 2)
    monkeypatch.setattr(scores_and_arrivals, "time_allowed", lambda distance: 1)
    argv = ["--models", TRAINED_ON, "random", "--rooms", "1", "--clips", "2"]
    argv += ["--results", str(tmp_path)]
    assert scores_and_arrivals.main(argv) == 0
    found = {path.name: json.loads(path.read_text()) for path in (tmp_path / FOLDER).iterdir()}
    assert set(found) == {
        "trained-on-33550-steps-scores.json",
        "trained-on-33550-steps-2m-rooms-000.json",
        "random-2m-rooms-000.json",
    }
    scores = found["trained-on-33550-steps-scores.json"]["scores"]
    assert set(scores) == set(tables.SAID)
    assert scores["scs"][0] > 30
    assert 15 < scores["psnr"][0] < 35
    assert 0 < scores["following"][0] < scores_and_arrivals.NOT_SEEN
    assert found["trained-on-33550-steps-2m-rooms-000.json"]["metres"][0] == pytest.approx(
        2, abs=0.5
    )
    capsys.readouterr()
    assert scores_and_arrivals.main([*argv, "--only", "arrivals"]) == 0
    assert capsys.readouterr().out == ""


def planted(results: Path) -> None:
    """Every model: its scores fall with its place in the list, and so do its arrivals."""
    (results / FOLDER).mkdir()
    rng = np.random.default_rng(0)
    for place, model in enumerate(GRADED):
        good = 1 - place / len(GRADED)
        scores = {name: [100 * good] * 4 for name in tables.SAID}
        scores |= dict.fromkeys((*LOWER_IS_BETTER, "psnr"), [float(place)] * 4)
        about = ABOUT | {"name": model.name, "kind": model.kind}
        record = about | {"settings": {"clips": 4}, "scores": scores}
        scores_file(results / FOLDER, model.name).write_text(json.dumps(record))
        arrived = (rng.random(8) < good).tolist()
        went = about | {"arrived": arrived, "metres": [place / 10] * 8}
        arrivals_file(results / FOLDER, model.name, 2.0, 0).write_text(json.dumps(went))
        if place < 5:
            arrivals_file(results / FOLDER, model.name, 3.0, 0).write_text(json.dumps(went))


def test_the_tables_show_what_the_records_say(tmp_path):
    planted(tmp_path)
    lines = tables.models(tmp_path).splitlines()
    assert lines[2].startswith(f"| 1 | {GRADED[0].name} | 100 | 100 |")
    assert sum("not yet measured" in line for line in lines) == len(GRADED) - 5
    table = tables.taus(tmp_path)
    places = {said: table.index(f"| {said} |") for said in tables.SAID.values()}
    assert max(places, key=lambda said: places[said]) == "PSNR"
    assert "less PSNR's: 1." in table
    assert "14 models, 9 of them not misled, 5 at 3 m." in table
    assert "not yet measured" in tables.models(tmp_path / "none")
    assert "not yet measured" in tables.taus(tmp_path / "none")


def test_the_chart_has_every_model(tmp_path):
    planted(tmp_path)
    file = tmp_path / "chart.svg"
    assert arrivals_chart.main([str(file), "--results", str(tmp_path)]) == 0
    text = file.read_text()
    assert all(text.count(f">{k}</text>") >= 2 for k in range(6, len(GRADED) + 1))
    assert arrivals_chart.main([str(file), "--results", str(ROOT / "docs")]) == 2
    assert file.read_text() == text
