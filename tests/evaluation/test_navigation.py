"""Going to a picture in the rooms: tasks, the robot, `egowm plan` and the benchmark, very small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.planning import arrivals, candidates
from benchmarks.tables import planning
from egowm.commands import main as cli
from egowm.commands.work import plan_rooms
from egowm.commands.work.plan import planner_of
from egowm.encoders import IJEPA
from egowm.evaluation.agents import PlanningAgent, SimulatorAgent, with_model
from egowm.evaluation.navigation import (
    DISTANCE,
    Oracle,
    Robot,
    StraightAhead,
    Task,
    act_out,
    arrived,
    make_task,
    make_tasks,
    time_allowed,
)
from egowm.planning.costs import Features
from egowm.planning.search import Plan
from egowm.sampling import Sampling
from egowm.video import read_frames

ROOT = Path(__file__).resolve().parents[2]
SMALL = (16, 16)


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return make_tasks(2)


@pytest.mark.parametrize(
    ("distance", "low", "high"), [(1.0, 0, 35), (DISTANCE, 0, 35), (2.0, 60, 150), (4.0, 60, 150)]
)
def test_tasks(distance, low, high):
    """The view is 45 degrees to each side."""
    tasks = make_tasks(2, distance=distance, visible=low == 0)
    for task in tasks:
        dx, dy = np.array(task.goal[:2]) - task.start[:2]
        assert abs(np.hypot(dx, dy) - distance) <= 0.25
        bearing = (np.arctan2(dy, dx) - task.start[2] + np.pi) % (2 * np.pi) - np.pi
        assert low - 1e-9 <= abs(np.degrees(bearing)) <= high + 1e-9
        room = Robot(task).room
        way = np.array([np.cos(task.start[2] + bearing), np.sin(task.start[2] + bearing), 0.0])
        origin = np.array([*task.start[:2], 0.6])
        assert room.cast(origin, way[None])[1][0] > np.hypot(dx, dy)  # nothing in between
    assert make_task(0, distance=distance, visible=low == 0) == tasks[0]
    assert tasks[0].seed >= 20_000_000  # a test room


@pytest.mark.parametrize(
    ("pose", "expected"),
    [((0.0, 0.49, 0.0), True), ((0.51, 0, 0), False), ((0, 0, 6.5), True), ((0, 0, -0.36), False)],
)
def test_arrived(pose, expected):
    assert arrived(pose, (0.0, 0.0, 0.0)) is expected


@pytest.mark.parametrize("distance", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("visible", [True, False])
def test_the_time_is_enough_for_who_knows_the_way(distance, visible):
    where = {"distance": distance, "visible": visible}
    (task,) = make_tasks(1, **where)
    assert act_out(task, Oracle(), time_allowed(**where), SMALL).success
    blind = act_out(task, StraightAhead(distance), time_allowed(**where), SMALL)
    assert visible or not blind.success


def test_the_oracle_arrives_and_a_wall_stops_a_robot(tasks):
    made = act_out(tasks[0], Oracle(), size=SMALL)
    assert made.success
    assert made.reached
    assert made.poses.shape == (17, 3)
    assert made.frames.shape == (17, *SMALL, 3)
    robot = Robot(tasks[0], *SMALL)
    for _ in range(120):
        robot.move(np.array([0.3, 0, 0]))
    half = robot.room.plan.half_size
    assert abs(robot.pose[0]) < half[0]
    assert abs(robot.pose[1]) < half[1]
    straight = act_out(tasks[0], StraightAhead(), size=SMALL)
    assert np.allclose(straight.poses[:, 2], tasks[0].start[2])
    assert np.allclose(straight.poses[-1], straight.poses[-2])


@pytest.mark.parametrize("history", [1, 3])
def test_an_agent_remembers_what_it_saw(history):
    """The newest frame last; before the first it stood still."""
    looks = []

    def cost_of(seen, goal):
        looks.append((seen[:, 0, 0, 0] * 255).round().int().tolist())
        return lambda actions: actions[:, 0, 0]

    def planner(cost, space, **options):
        return Plan(torch.zeros(8, 3), 0.0, 1, 0.0, torch.zeros(1, 8, 3))

    agent = PlanningAgent(planner, cost_of, every=1, history=history)
    for _ in range(2):  # and forgets it for the next task
        agent.begin(make_task(0), np.zeros((4, 4, 3), np.uint8))
        for shade in (1, 2, 3, 4):
            agent.act(np.full((4, 4, 3), shade, np.uint8))
    expected = [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert looks == [shades[-history:] for shades in expected] * 2


def test_a_robot_that_may_stop_stays_where_the_goal_is_seen():
    """At the goal nothing it imagines is nearer; two metres away it drives."""
    planner = planner_of("icem", 8, 1)
    task = make_task(0)
    there = Task(task.seed, task.goal, task.goal)
    run = act_out(there, SimulatorAgent(planner, stops=True), 4, SMALL)
    assert run.metres == run.degrees == 0.0
    assert act_out(there, SimulatorAgent(planner), 4, SMALL).metres > 0
    assert act_out(task, SimulatorAgent(planner, stops=True), 4, SMALL).metres < task.distance - 0.3


def test_a_cost_by_an_encoder_leads_to_what_it_sees_as_the_goal():
    """The encoder is loaded once; where its goal is seen, the robot stays."""

    def brightness(goal):
        return Features(goal, lambda x: x.mean((2, 3)), lambda a, b: (a - b).square().sum(1))

    task = make_task(0)
    there = Task(task.seed, task.goal, task.goal)
    agent = SimulatorAgent(planner_of("icem", 8, 1), stops=True, by=brightness)
    assert act_out(there, agent, 4, SMALL).metres == 0.0
    term = agent.cost_of(torch.zeros(1, 3, 16, 16), torch.zeros(3, 16, 16)).term
    assert isinstance(term.term, Features)


def test_the_verb_with_an_encoder(tmp_path, capsys):
    model = IJEPA(size=64, width=24, layers=1, heads=2)
    model.configure_model()
    model.save_pretrained(tmp_path / "encoder")
    words = ["plan", "--simulator", "--encoder", str(tmp_path / "encoder"), "--candidates", "2"]
    words += ["--rounds", "1", "--max_steps", "1"]
    assert cli.main([*words, "--output", str(tmp_path / "plan")]) == 0
    assert "of 1 arrived" in capsys.readouterr().out
    assert cli.main([*words, "--by", "latents", "--output", str(tmp_path / "other")]) == 2
    assert "Expected --by or --encoder, got both" in capsys.readouterr().err
    words[3] = str(tmp_path / "missing")
    assert cli.main([*words, "--output", str(tmp_path / "other")]) == 2
    assert "missing" in capsys.readouterr().err


def test_the_simulator_s_plans_are_kept_as_they_come_true():
    """Planned again after two actions; what it foresees is what the robot then sees."""
    agent = SimulatorAgent(planner_of("icem", 5, 1), horizon=3, every=2, watched=True)
    run = act_out(make_task(0), agent, 4, SMALL)
    assert [plan.begun for plan in agent.plans] == [0, 2]
    for plan in agent.plans:
        assert plan.actions.shape == (3, 3)
        seen = run.frames[plan.begun + 1 : plan.begun + 3]
        assert np.abs(plan.frames[:2].astype(int) - seen).max() <= 1
    assert not np.array_equal(run.frames[0], run.frames[2])
    act_out(make_task(0), agent, 2, SMALL)
    assert len(agent.plans) == 1  # of this drive
    unwatched = SimulatorAgent(planner_of("icem", 5, 1))
    act_out(make_task(0), unwatched, 1, SMALL)
    assert unwatched.plans == []


@pytest.mark.parametrize("by", ["pixels", "latents"])
def test_a_model_compares_what_is_seen_and_every_imagined_frame(obedient, by):
    agent = with_model(obedient, planner_of("icem", 4, 1), Sampling(steps=1), by=by, stops=True)
    seen, goal = torch.rand(1, 3, 16, 16), torch.rand(3, 16, 16)
    found = agent.distances(seen, goal, torch.zeros(8, 3))
    assert found.shape == (9,)
    assert (found > 0).all()
    assert agent.distances(goal[None], goal, torch.zeros(8, 3))[0] < 1e-9
    assert with_model(obedient, planner_of("icem", 4, 1)).distances is None


def test_the_verb_with_the_simulator(tmp_path, capsys):
    options = ["--simulator", "--candidates", "2", "--rounds", "1", "--max_steps", "5", "--stops"]
    assert cli.main(["plan", "--output", str(tmp_path), "--size", "16", "16", *options]) == 0
    (row,) = json.loads((tmp_path / "plan.json").read_text())
    assert len(row["poses"]) == 6
    assert (tmp_path / "room_0.webp").stat().st_size > 100
    film = read_frames(tmp_path / "room_0.mp4")
    assert film.shape == (len(row["poses"]), 192 + 2 * 22, 5 * 192 + 4 * 4, 3)
    assert "arrived; " in capsys.readouterr().out


@pytest.mark.long
def test_the_verb_with_the_model_that_came_along(tmp_path, capsys):
    options = ["--candidates", "2", "--rounds", "1", "--max_steps", "2", "--horizon", "4"]
    options += ["--steps", "1", "--chain", "latents_only", "--dtype", "bfloat16"]
    assert cli.main(["plan", "--output", str(tmp_path), *options]) == 0
    (row,) = json.loads((tmp_path / "plan.json").read_text())
    assert len(row["poses"]) == 3
    assert "1 arrived; " in capsys.readouterr().out


def test_the_verb_refuses_nothing_to_do(tmp_path, capsys):
    assert cli.main(["plan", "--output", str(tmp_path), "--rooms", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err
    assert cli.main(["plan", "--output", str(tmp_path), "--distance", "0.2"]) == 2
    assert "--distance above 0.5 m" in capsys.readouterr().err
    pictures = ["--picture", str(tmp_path / "now.png"), "--goal", str(tmp_path / "there.png")]
    assert cli.main(["plan", "--output", str(tmp_path), "--model", "none", *pictures]) == 2
    assert "now.png: no such file" in capsys.readouterr().err  # before a model is looked for
    with pytest.raises(ValueError, match="planner of icem, cem"):
        planner_of("guess", 2, 1)


@pytest.fixture
def benchmark(monkeypatch, obedient):
    """The benchmarks of planning on the tiny model."""
    act_out = arrivals.act_out
    monkeypatch.setattr(arrivals.WorldModel, "from_pretrained", lambda folder: obedient)
    monkeypatch.setattr(
        arrivals, "act_out", lambda task, agent, max_steps: act_out(task, agent, 2, SMALL)
    )


OPTIONS = ["--candidates", "2", "--rounds", "1", "--steps", "1", "--device", "cpu", "--results"]


@pytest.mark.long
def test_arrivals_are_measured_once(benchmark, tmp_path, capsys):
    options = [*OPTIONS, str(tmp_path), "--rooms", "2"]
    assert arrivals.main([*options, "--agents", "random", "ours"]) == 0
    assert arrivals.main(options) == 0
    assert capsys.readouterr().out.count("is there") == 2
    rows = [json.loads(path.read_text()) for path in (tmp_path / "planning").iterdir()]
    assert sorted(row["name"] for row in rows) == [
        "from scratch, 1 step",
        "from scratch, which may stop, 1 step",
        "from the prior by pixels, 1 step",
        "from the prior, 1 step",
        "from the prior, which may stop, 1 step",
        "oracle bearing",
        "ours, 1 step",
        "ours, which may stop, 1 step",
        "random",
        "simulator as model",
        "simulator as model, which may stop",
        "straight ahead",
    ]
    assert {(row["distance_metres"], row["visible"]) for row in rows} == {(2.0, True)}
    assert all(len(row["each"]) == 2 for row in rows)
    networks = {row["agent"]: list(row["weights"]) for row in rows if "weights" in row}
    assert networks == {
        "ours": ["rooms-world-model"],
        "ours, which may stop": ["rooms-world-model"],
        "from scratch": ["from-scratch-long"],
        "from scratch, which may stop": ["from-scratch-long"],
        "from the prior": ["from-the-prior-long"],
        "from the prior, which may stop": ["from-the-prior-long"],
        "from the prior by pixels": ["from-the-prior-long"],
    }
    table = planning.planning(tmp_path).replace(" (dirty)", "")  # of a tree with changes
    assert "| 2 m, seen | ours, 1 step | simulator as model |" in table
    assert "| ours, which may stop, 1 step | simulator as model, which may stop |" in table
    assert "| ours, 1 step | simulator as model, which may stop |" not in table
    path = tmp_path / "planning/2m-seen-ours-1-step.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"weights": {"rooms-world-model": "0" * 64}}))
    assert arrivals.main([*options, "--agents", "ours"]) == 0
    assert "is there, of other weights than these" in capsys.readouterr().out
    assert arrivals.main([*options, "--seed", "1"]) == 2
    assert "was measured with" in capsys.readouterr().err
    assert arrivals.main([*options, "--rooms", "0"]) == 2


@pytest.fixture
def timed(tiny_prior, tmp_path) -> list[str]:
    options = ["--steps", "1", "--device", "cpu", "--repeats", "1"]
    options += ["--results", str(tmp_path)]
    return [*options, "--timed", "4", "--frames", "8", "--prior", str(tiny_prior)]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@pytest.mark.long
def test_candidates_are_timed(benchmark, timed, tiny_prior, tmp_path, monkeypatch):
    taken = {"pipeline, batched": [4.0, 8.0, 4.0]}
    monkeypatch.setattr(
        candidates,
        "take_turns",
        lambda runs, repeats: {name: taken.get(name, [2.0, 1.0, 2.0]) for name in runs},
    )
    assert candidates.main(timed) == 0
    record = json.loads((tmp_path / "candidates.json").read_text())
    assert record["settings"]["prior"] == tiny_prior.name  # and no path of a machine
    assert record["settings"]["model"] == "rooms-world-model"
    assert record["weights"].keys() == {"rooms-world-model", tiny_prior.name}
    rows = record["rows"]
    assert [row["contest"] for row in rows] == ["closed loop"] * 7 + ["one video"] * 4
    (ours, *_) = rows
    assert ours["candidates_per_second"] == 2.0
    assert (ours["ratio_min"], ours["ratio_median"], ours["ratio_max"]) == (2.0, 2.0, 8.0)
    assert {row["ratio_median"] for row in rows if row["who"] == "pipeline, batched"} == {1.0}


def test_nothing_is_timed_that_the_pipeline_does_not_make(
    benchmark, timed, tmp_path, monkeypatch, capsys
):
    """Later frames as well, which actions of later chunks lead to."""
    stock = candidates.ClosedLoop.calls

    def other_later(self, *how):
        made = stock(self, *how)
        made[:, self.model.chunk :] = 1 - made[:, self.model.chunk :]
        return made

    monkeypatch.setattr(candidates.ClosedLoop, "calls", other_later)
    assert candidates.main(timed) == 2
    assert "Not timed: frames differ by" in capsys.readouterr().err
    assert not (tmp_path / "candidates.json").exists()


@pytest.mark.long
def test_rooms_are_shared_out(tmp_path, capsys):
    """Two shares fill the cache, and what is merged is what one process writes, to the byte."""
    words = ["plan", "--simulator", "--candidates", "2", "--rounds", "1", "--max_steps", "2"]
    words += ["--size", "16", "16", "--rooms", "3", "--output"]
    cache = ["--cache", str(tmp_path / "cache")]
    assert cli.main([*words, str(tmp_path / "alone")]) == 0
    for share, count in (("1/2", "2 rooms are"), ("2/2", "1 room is")):
        assert cli.main([*words, str(tmp_path / "both"), *cache, "--shard", share]) == 0
        assert f"shard {share}: {count} gone through" in capsys.readouterr().out
    assert not (tmp_path / "both").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("row.json")}
    assert len(kept) == 3
    assert cli.main([*words, str(tmp_path / "both"), *cache]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    names = {"plan.json", *(f"room_{k}.{end}" for k in range(3) for end in ("mp4", "webp"))}
    for name in names:
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert {path.name for path in (tmp_path / "both").iterdir()} == names
    words[words.index("--candidates") + 1] = "3"  # another planner: nothing is taken from before
    assert cli.main([*words, str(tmp_path / "other"), *cache]) == 0
    assert len(list((tmp_path / "cache").rglob("row.json"))) == 6


def test_two_processes_take_one_room(tmp_path, monkeypatch):
    """The other one ends while this one has just found nothing: each row is there from then on."""
    words = ["plan", "--simulator", "--candidates", "2", "--rounds", "1", "--max_steps", "2"]
    words += ["--size", "16", "16", "--cache", str(tmp_path / "cache"), "--output"]
    kept, act, found = plan_rooms._kept, plan_rooms._act, []

    def looked_up(place):
        before = kept(place)
        monkeypatch.setattr(plan_rooms, "_kept", kept)
        assert cli.main([*words, str(tmp_path / "other")]) == 0
        return before

    def acted(rooms, task, agent, film):
        found.append(kept(rooms.place(task)))
        return act(rooms, task, agent, film)

    monkeypatch.setattr(plan_rooms, "_kept", looked_up)
    monkeypatch.setattr(plan_rooms, "_act", acted)
    assert cli.main([*words, str(tmp_path / "this")]) == 0
    rows = [json.loads((tmp_path / name / "plan.json").read_text()) for name in ("this", "other")]
    assert found == [None, rows[0][0]]  # of the other process, then of this one
    assert rows[0] == rows[1]
    (place,) = (tmp_path / "cache").iterdir()
    assert {path.name for path in place.iterdir()} == {"row.json", "room.mp4", "room.webp"}
    for name in ("this", "other"):
        assert {path.suffix for path in (tmp_path / name).glob("room_0.*")} == {".mp4", ".webp"}


def test_a_damaged_room_is_made_anew(tmp_path):
    words = ["plan", "--simulator", "--candidates", "2", "--rounds", "1", "--max_steps", "2"]
    words += ["--size", "16", "16", "--cache", str(tmp_path / "cache"), "--output"]
    assert cli.main([*words, str(tmp_path / "a")]) == 0
    (row,) = (tmp_path / "cache").glob("*/row.json")
    whole = row.read_text()
    row.write_text(whole[:40])
    assert cli.main([*words, str(tmp_path / "b")]) == 0
    assert row.read_text() == whole
    assert (tmp_path / "a/plan.json").read_bytes() == (tmp_path / "b/plan.json").read_bytes()
