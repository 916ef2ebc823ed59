"""The driving benchmark: intervals in closed form, robot time of resets, its table."""

import json

import numpy as np
import pytest

from benchmarks.experiment.room_driving import AtRandom, Knowing, exact_interval, judged, places
from benchmarks.measure import provenance
from benchmarks.tables.daydreamer import driving
from egowm.policies import LiveRobot


def test_intervals_in_closed_form():
    """Of none in n the upper end is 1 - 0.025^(1/n)."""
    assert exact_interval(0, 20) == [0.0, pytest.approx(1 - 0.025**0.05, abs=1e-3)]
    assert exact_interval(20, 20) == [pytest.approx(0.025**0.05, abs=1e-3), 1.0]
    assert exact_interval(10, 20) == [0.272, 0.728]


def test_who_knows_where_it_is_arrives_and_who_does_not_does_not():
    robot = LiveRobot(7, (8, 8), fence=2.0, goal=(0.0, 0.0, 0.0))
    starts = places(robot, 5)
    assert starts == places(robot, 5)
    assert judged(robot, Knowing(robot), starts, 40)["arrived"] == 5
    assert judged(robot, AtRandom(robot), starts, 3)["arrived"] == 0


def test_a_reset_takes_robot_time():
    pytest.importorskip("gymnasium")
    from benchmarks.experiment.model_free import LiveEnv, physical

    robot = LiveRobot(7, (8, 8), fence=2.0)
    env = LiveEnv(robot, attempt=5, away=7, seed=0)
    seen, _ = env.reset()
    assert seen.shape == (3, 8, 8)
    over = [env.step(np.zeros(2))[3] for _ in range(5)]
    assert over == [False] * 4 + [True]
    assert env.driven == 5
    env.reset()
    assert env.driven == 12
    assert physical(robot, np.array([-1.0, 1.0])) == pytest.approx([0.0, 0.0, np.radians(15)])


def row(name: str, minutes: int, gain: float, arrived: int) -> dict:
    found = {"arrived": arrived, "starts": 20, "ci95": exact_interval(arrived, 20), "metres": 1.0}
    return {"row": name, "minutes": minutes, "gain": gain, "gradient_steps": 1500} | found


def test_the_table_sets_the_learners_side_by_side(tmp_path):
    assert "not yet measured" in driving(tmp_path)
    rows = [row("Dreamer", 4, 1.0, 7), row("SAC", 4, 1.0, 2), row("Dreamer", 8, 0.5, 10)]
    known = [row(name, 0, 1.0, n) for name, n in (("random actions", 0), ("knows where it is", 20))]
    for one in known:
        del one["minutes"]
    rows[1]["cpu_seconds"] = 70
    record = provenance(0, "cpu", (), ["benchmarks/experiment/daydreamer.py"])
    record |= {"rows": rows + known, "attempt": 40, "gain": 0.5, "minutes": 4}
    record |= {"learner_cpu_seconds": 1234, "dirty": False}
    (tmp_path / "daydreamer.json").write_text(json.dumps(record))
    shown = driving(tmp_path)
    assert "| 4 | x 1 | 7 of 20 (15 to 59%) | 1,500 | 2 of 20 (1 to 32%) | 1,500 |" in shown
    assert "| 8 | x 0.5 | 10 of 20 (27 to 73%) | 1,500 | | |" in shown
    assert "By random actions 0 of 20 (0 to 17%) arrive within 40 steps" in shown
    assert "1,234 CPU seconds" in shown
    assert "dirty" not in shown
