"""Planners on costs whose best sequence is known."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch

from egowm.planning import (
    Space,
    cem,
    gradient,
    icem,
    mppi,
    random_shooting,
    shifted,
    straight_line,
)
from egowm.planning.icem import coloured
from egowm.planning.straight_line import line_actions
from tests.planning.conftest import MEAN, PLANNERS, SPACE, TARGET, bowl, seeded

GOLDEN = Path(__file__).with_name("golden.json")


def test_the_bottom_of_a_bowl(planner):
    plan = planner(bowl, SPACE, generator=seeded())
    reach = 0.2 if planner.func is random_shooting else 1e-4
    assert plan.cost < reach
    assert plan.cost == pytest.approx(float(bowl(plan.actions[None])[0]), abs=1e-6)
    assert plan.cost < float(bowl(MEAN[None])[0])
    torch.testing.assert_close(plan.actions, TARGET, atol=math.sqrt(reach), rtol=0)
    assert torch.equal(plan.elites[0], plan.actions)
    assert (bowl(plan.elites).diff() >= 0).all()
    assert not plan.interrupted


def test_random_shooting_on_a_line_is_as_dense_as_its_samples():
    plan = random_shooting(
        lambda x: (x - 0.3).square().sum((1, 2)),
        Space(torch.zeros(1, 1), 0.5),
        samples=10_000,
        generator=seeded(),
    )
    assert plan.cost < 1e-4
    assert plan.evaluations == 10_000


def test_bounds_hold_for_every_sample(planner):
    low, high = torch.tensor([-0.1, -1.0]), torch.tensor([[0.2], [0.05], [1.0]])
    seen = []

    def watched(actions):
        seen.append(actions.detach())
        return bowl(actions)

    plan = planner(watched, Space(MEAN, 0.5, low, high), generator=seeded())
    every = torch.cat([*seen, plan.elites])
    assert (every >= low).all()
    assert (every <= high).all()
    best = torch.minimum(torch.maximum(TARGET, low), high.expand_as(TARGET))
    found = plan.cost - float(bowl(best[None])[0])
    assert -1e-6 <= found < (0.2 if planner.func is random_shooting else 1e-3)


def test_the_same_generator_makes_the_same_plan(planner):
    plans = [planner(bowl, SPACE, generator=seeded(seed)) for seed in (3, 3, 4)]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert plans[0].cost == plans[1].cost
    if planner.func is not gradient:  # in a bowl, descent from the mean itself wins anyway
        assert not torch.equal(plans[0].actions, plans[2].actions)


@pytest.mark.parametrize("name", sorted([*PLANNERS, "straight_line"]))
def test_golden_plans(name):
    """As they were; `make golden` writes them anew after a change that is meant."""
    plan = golden_plan(name)
    expected = json.loads(GOLDEN.read_text())[name]
    torch.testing.assert_close(plan.actions, torch.tensor(expected["actions"]), atol=1e-4, rtol=0)
    assert plan.evaluations == expected["evaluations"]


def golden_plan(name):
    if name == "straight_line":
        return straight_line(
            reach, Space(torch.zeros(1, 3), 0.5, low=-0.2), horizon=4, samples=8, elites=3,
            iterations=3, generator=seeded(),
        )  # fmt: skip
    few = {"iterations": 3, "samples": 8} | ({"elites": 3} if "cem" in name else {})
    return PLANNERS[name].func(bowl, Space(MEAN, 0.5, low=-0.45), generator=seeded(), **few)


def test_counts_and_a_warm_start(planner):
    few = partial(planner.func, samples=8, iterations=1)
    if planner.func in (cem, icem):
        few = partial(few, elites=2)
    warm = torch.stack([TARGET, TARGET + 0.1, TARGET + 0.2])
    plan = few(bowl, SPACE, initial=warm, generator=seeded())
    assert plan.cost == 0
    assert torch.equal(plan.actions, TARGET)
    assert plan.evaluations == 8 + (1 if planner.func is icem else 3)  # icem keeps 30%, rounded up
    with pytest.raises(ValueError, match=r"initial sequences \(M, 3, 2\), got \(3, 2\)"):
        few(bowl, SPACE, initial=TARGET)


def test_icem_has_fewer_samples_every_round_and_keeps_its_elites():
    counts, first = [], []

    def watched(actions):
        counts.append(len(actions))
        first.append(actions[0])
        return bowl(actions)

    plan = icem(watched, SPACE, samples=20, elites=5, iterations=4, generator=seeded())
    assert counts == [20, 16, 12, 10]  # times 0.8 a round, at least twice the elites
    assert plan.evaluations == 58
    assert torch.equal(first[0], MEAN)


def test_coloured_noise_is_white_for_beta_0_and_slow_for_beta_2():
    white = torch.randn(20_000, 8, 1, generator=seeded())
    torch.testing.assert_close(coloured(white, 0.0), white)
    for length in (8, 7, 1):
        slow = coloured(white[:, :length], 2.0)[..., 0]
        torch.testing.assert_close(slow.var(0), torch.ones(length), atol=0.05, rtol=0)
    slow = coloured(white, 2.0)[..., 0]
    assert (slow[:, :-1] * slow[:, 1:]).mean() > 0.5


def test_mppi_weights_do_not_depend_on_the_unit_of_the_cost():
    plans = [
        mppi(lambda x, s=s: s * bowl(x) + s, SPACE, samples=50, iterations=5, generator=seeded())
        for s in (1.0, 1024.0)
    ]
    torch.testing.assert_close(plans[0].actions, plans[1].actions, atol=1e-4, rtol=0)


def test_the_gradient_planner_holds_fixed_dimensions_and_needs_a_gradient():
    std = torch.tensor([0.5, 0.0])
    plan = gradient(bowl, Space(MEAN, std), iterations=100)
    torch.testing.assert_close(plan.actions[:, 0], TARGET[:, 0], atol=1e-2, rtol=0)
    assert torch.equal(plan.actions[:, 1], MEAN[:, 1])
    with pytest.raises(ValueError, match="differentiable cost"):
        gradient(lambda x: bowl(x).detach(), SPACE, iterations=2)
    with pytest.raises(ValueError, match="gradient is not finite"):
        gradient(lambda x: x.abs().sum((1, 2)).sqrt(), SPACE, iterations=2)


# Straight lines -----------------------------------------------------------------------------------


def test_a_line_turns_at_its_end_or_all_along():
    end = torch.tensor([[[2.0, 0.4, 0.8]]])
    last, even = line_actions(end, 4), line_actions(end, 4, "even")
    torch.testing.assert_close(last[0, :, :2], torch.tensor([[0.5, 0.1]]).expand(4, -1))
    assert last[0, :, 2].tolist() == pytest.approx([0, 0, 0, 0.8])
    torch.testing.assert_close(even, torch.tensor([[0.5, 0.1, 0.2]]).expand(1, 4, -1))
    with pytest.raises(ValueError, match=r"ends \(N, 1, 3\)"):
        line_actions(end[0], 4)
    with pytest.raises(ValueError, match="turn last or even"):
        line_actions(end, 4, "first")


def reach(actions):
    """How far the steps of a line lead from a place, (N, T, 3) -> (N,)."""
    return (actions.sum(1) - torch.tensor([1.0, 0.2, -0.3])).square().sum(1)


def test_a_straight_line_plan():
    plan = straight_line(
        reach,
        Space(torch.zeros(1, 3), 0.5),
        horizon=8,
        iterations=20,
        samples=100,
        generator=seeded(),
    )
    assert plan.cost < 1e-4
    assert plan.actions.shape == (8, 3)
    assert torch.equal(plan.actions[:-1, 2], torch.zeros(7))
    assert plan.evaluations == 2000


def test_a_straight_line_holds_bounds_and_is_interrupted_as_the_others():
    low, high = torch.tensor([0.0, -0.1, -0.2]), torch.tensor([0.5, 0.1, 0.2])
    seen = []

    def watched(actions):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(actions)
        return reach(actions)

    plan = straight_line(
        watched, Space(torch.zeros(1, 3), 0.5, low, high), horizon=4, iterations=9,
        generator=seeded(),
    )  # fmt: skip
    every = torch.cat(seen)
    ends = every.sum(1)
    assert (ends >= low - 1e-6).all()
    assert (ends <= high + 1e-6).all()
    assert plan.interrupted
    assert plan.evaluations == len(every) == 360
    assert torch.equal(plan.actions, every[reach(every).argmin()])


# Shifting -----------------------------------------------------------------------------------------


def test_shifted():
    actions = torch.arange(4.0)[None, :, None].expand(2, 4, 3)
    assert shifted(actions, 1)[0, :, 0].tolist() == [1, 2, 3, 3]
    assert shifted(actions[0], 3)[:, 0].tolist() == [3, 3, 3, 3]
    assert shifted(actions, 9)[1, :, 2].tolist() == [3, 3, 3, 3]
    assert torch.equal(shifted(actions, 0), actions)
