"""What all planners share: budget, interruption, and what is refused."""

import subprocess
import sys

import pytest
import torch

from egowm.planning import Budget, cem, gradient, icem, mppi, random_shooting, search
from tests.planning.conftest import PLANNERS, SPACE, bowl, seeded


@pytest.fixture
def clock(monkeypatch):
    """A clock that costs move, and nothing else."""
    now = [0.0]
    monkeypatch.setattr(search, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("name", sorted(PLANNERS))
@pytest.mark.parametrize("each", [0.1, 0.093, 0.071, 0.01])
def test_a_time_budget_is_kept_within_a_tenth(name, each, clock):
    """Budgets of ten evaluations of the cost and more."""

    def slow(actions):
        clock[0] += each * len(actions) / 4
        return bowl(actions)

    most = 10_000 if name == "gradient" else None
    options = {"samples": 4, "iterations": Budget(most, seconds=1.0)}
    if name in ("cem", "icem"):
        options["elites"] = 4 if name == "icem" else 2  # as many samples in every round
    plan = PLANNERS[name].func(slow, SPACE, generator=seeded(), **options)
    assert 0.9 <= plan.seconds <= 1.1
    assert plan.evaluations == 4 * round(plan.seconds / each)


def test_one_round_always_runs(clock):
    def slow(actions):
        clock[0] += 5.0
        return bowl(actions)

    plan = random_shooting(slow, SPACE, samples=3, iterations=Budget(9, 1.0))
    assert (plan.evaluations, plan.seconds) == (3, 5.0)


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_an_interrupted_plan_is_the_best_so_far(name):
    seen = []

    def interrupted(actions):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(actions.detach())
        return bowl(actions)

    plan = PLANNERS[name](interrupted, SPACE, generator=seeded())
    every = torch.cat(seen)
    assert plan.interrupted
    assert plan.evaluations == len(every)
    assert torch.equal(plan.actions, every[bowl(every).argmin()])


def test_an_interruption_before_anything_was_found_is_passed_on(planner):
    def interrupted(actions):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        planner(interrupted, SPACE)


def test_nan_costs_are_refused(planner):
    def broken(actions):
        costs = bowl(actions)
        return torch.where(torch.arange(len(costs)) == 1, torch.nan, costs)

    with pytest.raises(ValueError, match=r"NaN or -inf in 1 of \d+ costs, .* sequence 1: exp"):
        planner(broken, SPACE)


def test_forbidden_sequences_are_left_out_and_all_forbidden_is_an_error(planner):
    if planner.func is not gradient:
        plan = planner(
            lambda x: bowl(x).where(x[:, 0, 0] > 0.4, torch.inf), SPACE, generator=seeded()
        )
        assert plan.actions[0, 0] > 0.4
        assert plan.cost < 0.5
    words = "has no|no best one|No elites|differentiable"
    with pytest.raises(ValueError, match=words):
        planner(lambda x: bowl(x) * 0 + torch.inf, SPACE)


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        (lambda x: x.sum(2), r"costs of shape \(5,\) for 5 sequences, got \(5, 3\)"),
        (lambda x: 1.0, r"costs of shape \(5,\) for 5 sequences, got float"),
    ],
)
def test_costs_of_another_shape_are_refused(costs, words):
    with pytest.raises(ValueError, match=words):
        random_shooting(costs, SPACE, samples=5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "at least 1 sample, got 0"),
        ({"elites": 0}, r"1 to 8 \(samples\) elites, got 0"),
        ({"elites": 9}, r"1 to 8 \(samples\) elites, got 9"),
        ({"iterations": 0}, "at least 1 iteration, got 0"),
        ({"iterations": None}, "iterations to be a whole number or a Budget, got None"),
        ({"momentum": 1.0}, r"momentum in \[0, 1\), got 1.0"),
    ],
)
def test_what_makes_no_search_is_refused(options, words):
    asked = {"samples": 8, "elites": 2, "iterations": 3} | options
    with pytest.raises(ValueError, match=words):
        cem(bowl, SPACE, **asked)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "iterations, seconds or both: something must end the search"),
        ({"iterations": 0}, "at least 1 iteration, got 0"),
        ({"iterations": 0, "seconds": 1.0}, "at least 1 iteration, got 0"),
        ({"seconds": 0.0}, "more than 0 seconds, got 0.0"),
        ({"seconds": float("nan")}, "seconds to be a number, got nan"),
    ],
)
def test_a_budget_that_ends_nothing_is_refused(limits, words):
    with pytest.raises(ValueError, match=words):
        Budget(**limits)


def test_what_only_some_planners_take():
    for call, words in (
        (lambda: icem(bowl, SPACE, samples=4, elites=2, iterations=1, decay=0.5), "decay >= 1"),
        (lambda: icem(bowl, SPACE, samples=4, elites=2, iterations=1, kept=2), "kept in"),
        (lambda: mppi(bowl, SPACE, samples=4, iterations=1, temperature=0), "temperature"),
        (lambda: gradient(bowl, SPACE, iterations=1, rate=0), "a rate above 0"),
        (lambda: gradient(bowl, SPACE, iterations=Budget(seconds=1.0)), "a number of iterations"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_progress(capsys):
    cem(bowl, SPACE, samples=4, elites=2, iterations=Budget(3, progress=True), generator=seeded())
    assert "planning" in capsys.readouterr().err
    cem(bowl, SPACE, samples=4, elites=2, iterations=3, generator=seeded())
    assert capsys.readouterr().err == ""


@pytest.mark.long
def test_the_import_is_light():
    code = (
        "import sys, egowm, egowm.planning\n"
        "egowm.Space\n"
        "heavy = ('lightning', 'diffusers', 'transformers', 'gymnasium', 'mujoco', 'cv2')\n"
        "print([name for name in heavy if name in sys.modules], 'egowm.world_model' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] False"
