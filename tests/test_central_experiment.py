"""The central experiment: its statistics in closed form, its scenes against the simulator, and a
short matched run of the arms. Nothing here asks how well a model does."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.experiment import arms, claims, room_clips, rooms
from benchmarks.experiment.label_curve import label_curve
from benchmarks.experiment.room_clips import PlainHue, RoomClips, trained_precision
from benchmarks.tables import claims as claim_tables
from egowm.commands import main as cli
from egowm.data import Rooms, Window
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec")


@pytest.fixture(scope="module")
def few_rooms(tmp_path_factory) -> Rooms:
    counts = {"episodes_train": 2, "episodes_val": 2, "episodes_test": 3, "num_frames": 7}
    return Rooms(str(tmp_path_factory.mktemp("rooms")), Window(1, 1, 1, 64, 64), 2, **counts)


# Scenes -----------------------------------------------------------------------------------------


def test_the_simulator_under_true_actions_is_the_truth(few_rooms):
    clips = RoomClips(few_rooms, 3, 5)
    found = clips.score(clips.simulated("true"))
    np.testing.assert_allclose(found.scs, 100)
    np.testing.assert_allclose(found.scs_visible, 100)
    assert found.psnr.min() > 55  # 60 counts as identical; poses are kept in float32
    wrong = clips.score(clips.simulated("mirrored"))
    assert wrong.psnr.mean() < found.psnr.mean() - 10
    assert wrong.scs.mean() < 95


def test_what_the_rows_are_told(few_rooms):
    clips = RoomClips(few_rooms, 3, 5)
    true = clips.told("true")
    assert true.shape == (3, 5, 3)
    assert true.abs().max() > 0.05
    np.testing.assert_array_equal(clips.told("halved"), true / 2)
    np.testing.assert_array_equal(clips.told("zero"), 0 * true)
    np.testing.assert_array_equal(clips.told("shuffled"), true[[1, 2, 0]])
    np.testing.assert_allclose(clips.told("mean")[1, 2], true.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(clips.told("mirrored"), true.numpy() * np.float32([1, -1, -1]))


def test_standing_still_is_scored_against_the_first_frame(few_rooms):
    clips = RoomClips(few_rooms, 3, 5)
    np.testing.assert_allclose(clips.score_still(clips.copied()).scs, 100)
    np.testing.assert_allclose(clips.score_still(clips.simulated("zero")).scs, 100)
    moved = clips.score_still(clips.simulated("true"))
    assert moved.scs.mean() < 90  # though it is the truth
    assert clips.score(clips.simulated("true")).scs.mean() > 99


def test_a_stepped_frame_is_imagined_from_the_true_one_before(few_rooms):
    """Each equals a rollout of one action from that frame."""
    clips, model = RoomClips(few_rooms, 2, 3), WorldModel.from_pretrained("rooms")
    stepped = clips.stepped(model, Sampling(steps=1))
    for k, clip in enumerate(clips.clips):
        for t in range(3):
            noise = [torch.Generator().manual_seed(3 * k + t)]
            here, action = clip.frames[None, t : t + 1], clip.actions[None, t : t + 1]
            with trained_precision(model):
                made = model.rollout(here, action, Sampling(steps=1), generator=noise).frames
            difference = stepped[k][t] - 255 * made[0, 0].permute(1, 2, 0).numpy()
            assert np.abs(difference).mean() < 1


class Looking:
    """A model that keeps the contexts that it was shown."""

    device, state_spec = torch.device("cpu"), None

    def __init__(self, num_context: int) -> None:
        self.num_context, self.seen = num_context, []

    def rollout(self, context, actions, how, state, generator):
        self.seen.append(context)
        return SimpleNamespace(frames=torch.zeros(2, 3, 3, 64, 64))


def test_who_looks_at_several_frames_sees_the_first_as_often(few_rooms):
    clips, model = RoomClips(few_rooms, 2, 3), Looking(4)
    clips.imagined(model, "true")
    (shown,) = model.seen
    assert shown.shape == (2, 4, 3, 64, 64)
    for k in range(4):
        assert torch.equal(shown[:, k], torch.stack([clip.frames[0] for clip in clips.clips]))


def test_a_past_is_shown_to_who_looks_at_it(few_rooms):
    """Clips with three context frames: truth and structures begin with the last of them."""
    clips, model = RoomClips(few_rooms.with_context(3), 2, 3), Looking(2)
    clips.imagined(model, "true")
    assert torch.equal(model.seen[0], torch.stack([clip.frames[1:3] for clip in clips.clips]))
    assert [len(frames) for frames in clips.truth] == [4, 4]
    np.testing.assert_allclose(clips.score(clips.simulated("true")).scs, 100)


def test_a_plainer_rule_gives_each_pixel_its_nearest_hue(few_rooms):
    clips = RoomClips(few_rooms, 3, 5)
    plain = clips.ruled(PlainHue())
    np.testing.assert_allclose(plain.score(plain.simulated("true")).scs, 100)
    speckled = [frames[1:].copy() for frames in clips.truth]
    for frames in speckled:
        frames[:, 1::4, 1::4] = 128  # grey, and alone among its neighbours
    assert clips.score(speckled).scs.mean() > plain.score(speckled).scs.mean() + 3


def test_copy_and_mean_frame(few_rooms):
    clips = RoomClips(few_rooms, 3, 5)
    assert (clips.copied()[1] == clips.truth[1][0]).all()
    mean = clips.mean_frame()
    assert mean[0].shape == (5, 64, 64, 3)
    assert (mean[0] == mean[2]).all()
    assert clips.score(mean).scs.max() < 50


# Statistics -------------------------------------------------------------------------------------


def line(arm: str, actions: str, scs, episodes=None, **about) -> dict:
    """A row whose clips score `scs` and, where it counts only what is visible, 5 more."""
    scores = np.broadcast_to(np.asarray(scs, float), (20,))
    rate = {"learning_rate": 1e-3} if episodes else {}
    return {
        "arm": arm,
        "actions": actions,
        "episodes": episodes,
        "seed": 3,
        "world": "rooms",
        "scs": float(scores.mean()),
        "scs_davis": 1.0,
        "scs_visible": float(scores.mean()) + 5,
        "psnr": 20.0,
        "ci95": [1.0, 2.0],
        "clip_scs": scores.tolist(),
        "clip_scs_visible": (scores + 5).tolist(),
        **rate,
        **about,
    }


def result_rows() -> list[dict]:
    spread = np.linspace(-10, 10, 20)
    rows = [line("P", "true", 40 + spread, 64, seed=k, run=f"P{k}") for k in (3, 4, 5)]
    rows += [line("P", "shuffled", 20 + spread, 64, seed=k, run=f"P{k}") for k in (3, 4, 5)]
    rows += [line("P+", "true", 60 + spread, 64, run="P+")]
    rows += [line("P+", "shuffled", 20 + spread, 64, run="P+")]
    rows += [line("P", "true", 40 + spread, 16), line("P", "true", 52 + spread, 256)]
    rows += [line("S", "true", x + spread, n) for x, n in ((20, 16), (30, 64), (50, 256))]
    rows += [line("S+", "true", 55 + spread, 64, run="S+")]
    rows += [line("P", "true", 99, 64, learning_rate=1.0)]
    rows += [line("P", "true", 98, 64, variant="linear")]
    rows += [line("simulator", "mean", 45 + spread), line("simulator", "shuffled", 20.0)]
    return rows


RATES = dict.fromkeys(("P", "S", "P+", "S+", "S++"), 1e-3)


def test_claims_in_closed_form():
    """Paired clips differ by a constant, so intervals have no width.

    (a) and (b) are of P, the arm that they were asked of; P+ stands beside it.
    """
    found = claims.claims(claims.Table(result_rows(), RATES))
    assert found["a"] == {
        "value": -5.0,
        "ci95": [-5.0, -5.0],
        "runs": [3],
        "visible": {"value": -5.0, "ci95": [-5.0, -5.0]},
        "reached": False,
    }
    assert (found["a, P+"]["value"], found["a, P+"]["runs"]) == (15.0, [1])
    assert found["a, P+"]["reached"]
    assert found["b"] == {"value": 0.25, "ci95": [0.25, 0.25], "runs": [3], "reached": False}
    assert found["b, P+"] == {"value": 0.5, "ci95": [0.5, 0.5], "runs": [1], "reached": True}
    gaps = found["c"]["differences"]
    assert [gap["value"] for gap in gaps.values()] == [20.0, 10.0, 2.0, 5.0, -15.0]
    assert [gap["runs"] for gap in gaps.values()] == [[1, 1], [3, 1], [1, 1], [1, 1], [3, 1]]
    assert (found["c"]["value"], found["c"]["reached"]) == (-15.0, False)
    rows = [
        r | {"clip_scs": [x + 30 for x in r["clip_scs"]]} if r["arm"] == "P" else r
        for r in result_rows()
    ]
    high = claims.claims(claims.Table(rows, RATES))
    assert high["a"]["value"] == 25.0
    assert not high["a"]["reached"]  # where the structure is visible, it is as low as before
    assert high["c"]["reached"]
    assert high["c"]["value"] == 5.0


def test_long_runs_that_came_later_are_compared_once_they_are_there():
    """At 16 and 256 episodes both must be there, and S++ for the compute of the prior and P+."""
    rows = [*result_rows(), line("P+", "true", 58, 16), line("S++", "true", 62, 64)]
    few = claims.prior(claims.Table(rows, RATES))["differences"]
    both = claims.prior(claims.Table([*rows, line("S+", "true", 51, 16)], RATES))["differences"]
    assert "P+ - S+ at 16 episodes, equal steps" not in few
    assert both["P+ - S+ at 16 episodes, equal steps"]["value"] == 7.0
    twice = "P+ - S++ at 64 episodes, equal compute"
    assert both[twice]["value"] == few[twice]["value"] == -2.0
    assert few.keys() - claims.prior(claims.Table(result_rows(), RATES))["differences"] == {twice}


def test_a_committed_export_counts_while_its_rate_is_the_best():
    """Its rows do not say their rate, which is that of the prior's own training."""
    rows = [line("S+", "true", 50, 64), line("S+", "true", 60, 64)]
    del rows[0]["learning_rate"]
    rows[1]["learning_rate"] = 1.2e-3
    for rate, score in ((arms.LONG_RATE, 50), (1.2e-3, 60)):
        found = claims.Table(rows, {"S+": rate}).of("S+", "true", 64)
        assert found.tolist() == [[score] * 20]


def test_what_was_not_measured_is_said():
    table = claims.Table([r for r in result_rows() if r["arm"] != "S"], RATES)
    with pytest.raises(ValueError, match="No row for S, true actions, 16 episodes"):
        table.of("S", "true", 16)
    found = claims.claims(table)
    assert found["a, P+"]["reached"]
    assert found["c"]["value"] is found["c"]["reached"] is None
    assert "No row for S" in found["c"]["missing"]
    assert claim_tables.labels({"rows": table.rows, "learning_rates": RATES}) == ""


@pytest.mark.parametrize(
    ("copy", "converges"), [(20.0, False), (50.0, False), (53.0, True), (90.0, True)]
)
def test_what_the_scores_against_labels_say(copy, converges):
    """P has 40, 40, 52 and S 20, 30, 50. Only where all lie below the first frame repeated can
    only be said that training converges faster, not what labels are worth."""
    rows = [*result_rows(), line("copy", "", copy)]
    text = claim_tables.labels({"rows": rows, "learning_rates": RATES})
    start = "After 800 steps, with 16, 64 and 256 labelled episodes, the SCS is: from the "
    prior = "prior 40.0, 40.0 and 52.0"
    assert text.startswith(f"{start}{prior}; from scratch 20.0, 30.0 and 50.0. ")
    assert ("training converge faster" in text) is converges
    if converges:
        assert "16 times as many labels move it by 12.0 and 30.0 points at most." in text
        assert "how many labels it is worth, these runs do not say" in text
    else:
        assert text.endswith(f" The first frame repeated has {copy:.1f}.")


def test_intervals_cover_runs_and_clips():
    """Three runs far apart give a wide interval although every clip agrees; NaN clips are left
    out of both tables; the mean of 100 normal clips has the textbook width."""
    bootstrap = claims.bootstrap
    runs = np.repeat([[0.0], [10.0], [20.0]], 30, 1)
    value, (low, high) = bootstrap(lambda a: a, runs)
    assert value == 10.0
    assert low < 3
    assert high > 17
    a, b = np.zeros((1, 30)), np.ones((1, 30))
    a[0, 3], b[0, 4] = np.nan, np.nan
    assert bootstrap(lambda x, y: x - y, a, b) == (-1.0, [-1.0, -1.0])
    clips = np.random.default_rng(0).normal(size=(1, 100))
    value, (low, high) = bootstrap(lambda a: a, clips)
    assert high - low == pytest.approx(2 * 1.96 * clips.std() / 10, rel=0.06)


# A short matched run -----------------------------------------------------------------------------


@pytest.mark.long
def test_every_arm_trains_and_is_scored(few_rooms, tmp_path, monkeypatch):
    """Two steps each, from the same recipes; the rows are finite and say what they are.

    S differs from P by its recipe, P+ from P by its length: S+ has both.
    """
    monkeypatch.setattr(arms, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(arms, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(arms, "ROOT", tmp_path)
    monkeypatch.setattr(arms, "STEPS", 2)
    monkeypatch.setattr(arms, "PRIOR_STEPS", 1)
    monkeypatch.setattr(room_clips, "unseen_clips", lambda: RoomClips(few_rooms, 2, 2))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "priors").symlink_to(ROOT / "priors")
    small = ["--data.root", few_rooms.root, "--data.num_frames", "7", "--data.batch_size", "2"]
    small += ["--data.episodes_val", "1", "--trainer.accelerator", "cpu", "--data.episodes_test=3"]
    small += ["--trainer.limit_val_batches", "1", "--trainer.log_every_n_steps", "1"]
    monkeypatch.setattr(arms, "EXTRA", small)

    def call(arm, command):
        if "--score" in command:
            arms.score(arms.Arm(**json.loads(command[-1])))
        else:
            assert cli.main([str(word) for word in command[1:]]) == 0

    monkeypatch.setattr(arms, "_call", call)
    for name in ("P", "P0", "S+"):
        arm = arms.Arm(name, 2, 3, 1e-3)
        arms.run(arm)
        record = json.loads(arm.record.read_text())
        assert record["began"].keys() == {"commit", "dirty", "date"}
        assert record["began"]["date"] <= record["date"]
        assert record["loss"][-1][0] == (2 if name in arms.LONG else 1)  # steps from 0
        (row,) = record["rows"]
        assert (row["arm"], row["actions"]) == (name, "none" if name == "P0" else "true")
        assert np.isfinite([row["psnr"], arms.validation_loss(record)]).all()
        if name != "P0":
            assert (row["following"]["horizon"], row["following"]["clips"]) == (2, 2)
    assert {run["run"] for run in arms.trained()} == {
        f"{name}-2-seed3-0.001" for name in ("P", "P0", "S+")
    }
    monkeypatch.setattr(arms, "_call", None)
    arms.run(arm)  # its record is there: nothing is called
    record["weights"] = {"rooms-svd": "0" * 64}
    arm.record.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="belongs to another prior"):
        arms.run(arm)


def test_a_stopped_run_goes_on_and_its_curve_is_whole(tmp_path, monkeypatch):
    """Steps 2 and 3 were lost when it was stopped, and are those of the second start."""
    monkeypatch.setattr(arms, "RUNS", tmp_path)
    monkeypatch.setattr(arms, "ROOT", tmp_path)
    arm = arms.Arm("S+", 64, 4, 6e-4)
    for start, rows in enumerate(("0,9\n1,8\n2,7\n3,6\n", "2,5\n3,4\n4,3\n")):
        log = arm.folder / f"lightning_logs/version_{start}/metrics.csv"
        log.parent.mkdir(parents=True)
        log.write_text(f"step,train/loss\n{rows}")
        os.utime(log, (start, start))
    assert arms.curve(arm, "train/loss") == [(0, 9), (1, 8), (2, 5), (3, 4), (4, 3)]
    monkeypatch.setattr(arms, "RECORDS", tmp_path / "records")
    commands = []
    monkeypatch.setattr(arms, "_call", lambda arm, command: commands.append(command))
    monkeypatch.setattr(arms, "known", lambda arm: {"validation_loss": [[1, 2.0]]})
    (arm.folder / arms.BEGAN).write_text("{}")
    (arm.folder / "lightning_logs/version_0/config.yaml").touch()
    (arm.folder / "checkpoints").mkdir()
    (arm.folder / "checkpoints/last.ckpt").touch()
    arms.run(arm)
    assert "--ckpt_path last" in " ".join(commands[0])
    assert (arm.folder / arms.BEGAN).read_text() == "{}"  # where it began, not where it went on
    (arm.folder / "checkpoints/last.ckpt").unlink()
    arms.run(arm)
    assert (arm.folder / arms.BEGAN).read_text() != "{}"  # stopped before its first: it starts anew


def test_the_baseline_has_a_recipe_and_the_vae_of_the_prior():
    (arm,) = arms.baselines()
    assert arm.name == "S-64-seed3-0.0006-cdit"
    assert "recipes/rooms_cdit.yaml" in arm.options
    assert arm.options[arm.options.index("--trainer.max_steps") + 1] == str(arms.STEPS)
    assert arm.prior == ROOT / "priors/rooms-svd"


def test_the_learning_rate_is_the_one_with_the_lowest_validation_loss():
    about = {"episodes": 64, "seed": 3, "variant": ""}
    runs = [
        {
            "run": f"{arm} {rate}",
            "rows": [about | {"arm": arm, "learning_rate": rate} | other],
            "validation_loss": [[0, 0.0], [9, loss]],
        }
        for arm, rate, loss, other in (
            ("P", 1.0, 0.5, {}),
            ("P", 2.0, 0.3, {}),
            ("P", 4.0, 0.4, {}),
            ("S", 1.0, 0.2, {}),
            ("S", 2.0, 0.3, {}),
            ("S+", 2.0, 0.2, {}),
            ("S+", 4.0, 0.1, {}),
            ("P", 8.0, 0.1, {"seed": 1}),
            ("P", 8.0, 0.1, {"episodes": 16}),
            ("P", 8.0, 0.1, {"variant": "linear"}),
        )
    ]
    rates, search = arms.learning_rates(runs)
    assert rates == {"P": 2.0, "S": 1.0, "P0": 2.0, "S+": 4.0, "S++": 4.0}
    assert [r["loss"] for r in search] == [0.5, 0.3, 0.4, 0.2, 0.3, 0.2, 0.1]
    assert arms.learning_rates([]) == ({}, [])


def test_the_curve_shows_every_arm_and_reference():
    from xml.etree import ElementTree

    rows = [r for r in result_rows() if r["actions"] != "shuffled"]
    rows += [line("copy", "", 30.0), line("S", "true", 90, 64) | {"family": "cdit"}]
    record = {"rows": rows, "learning_rates": RATES, "training": []}
    svg = label_curve(record)
    picture = ElementTree.fromstring(svg)
    names = [element.text for element in picture.iter() if element.tag.endswith("text")]
    for name in (
        "from the prior",
        "from scratch",
        "from the prior (long)",
        "simulator, mean action",
        "16",
        "256",
    ):
        assert name in names
    circles = [e for e in picture.iter() if e.tag.endswith("circle")]
    heights = {e.get("fill"): [] for e in circles}
    for circle in circles:
        heights[circle.get("fill")].append(float(circle.get("cy")))
    assert [len(ys) for ys in heights.values()] == [3, 3, 1, 1]
    prior, scratch, *_ = heights.values()
    assert all(p < s for p, s in zip(prior, scratch, strict=True))  # SVG counts downwards
    assert "hollow" not in svg


def test_the_committed_record_is_merged_from_its_rows_and_runs():
    """Its claims, its learning rates and its training records, marks and all."""
    record = json.loads((ROOT / "benchmarks/results/rooms.json").read_text())
    measured = [r for r in record["rows"] if "learning_rate" not in r]
    assert json.loads(json.dumps(rooms.merged(record, measured))) == record, "run `make merge`"


def test_the_committed_curve_is_of_the_committed_results():
    record = json.loads((ROOT / "benchmarks/results/rooms.json").read_text())
    made = label_curve(record)
    assert made == (ROOT / "docs/labels.svg").read_text(), "run `make merge`"


def test_the_curve_shows_which_points_cannot_be_traced():
    training = [{"run": run, "dirty": run == "P4"} for run in ("P3", "P4", "P+")]
    record = {"rows": result_rows(), "learning_rates": RATES, "training": training}
    svg = label_curve(record)
    assert svg.count('r="4" fill="#ffffff"') == 1  # P at 64 episodes, one of three runs
    assert "hollow: training record" in svg
