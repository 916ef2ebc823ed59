"""Agents that plan again and again, and planners inside another framework."""

from functools import partial

import pytest
import torch

from egowm.planning import MPC, Plan, Space, cem, icem
from tests.planning.conftest import seeded


def to_zero(position: torch.Tensor):
    """The cost of moving a point (2,) by the actions: how far from 0 it is all along."""
    return lambda actions: (position + actions.cumsum(1)).square().sum((1, 2))


def test_a_point_is_brought_to_the_origin():
    agent = MPC(
        partial(icem, samples=64, elites=8, iterations=5),
        to_zero,
        Space(torch.zeros(6, 2), 0.2, -0.25, 0.25),
        every=2,
        generator=seeded(),
    )
    position = torch.tensor([1.0, -0.8])
    for _ in range(12):
        action = agent.act(position)
        assert action.abs().max() <= 0.25
        position = position + action
    assert position.norm() < 0.1


def test_it_plans_again_where_it_is_told_and_stops_for_good():
    """Due after 1, 2, 0 actions: three plans, each from the rest of the one before."""
    due, means = iter([1, 2, 0]), []

    def planner(cost, space, *, generator, initial):
        means.append(space.mean.clone())
        return Plan(torch.arange(1.0, 5)[:, None], 0.0, 1, 0.0, torch.ones(1, 4, 1))

    told = lambda seen, plan: next(due)  # noqa: E731
    agent = MPC(planner, to_zero, Space(torch.zeros(4, 1), 0.2), every=3, until=told)
    acted = [float(agent.act(torch.zeros(1))) for _ in range(6)]
    assert acted == [1.0, 1.0, 2.0, 0.0, 0.0, 0.0]
    assert [mean[:, 0].tolist() for mean in means] == [[0] * 4, [2, 3, 4, 4], [3, 4, 4, 4]]
    agent = MPC(planner, to_zero, Space(torch.zeros(4, 1), 0.2), every=3, until=lambda *_: 4)
    with pytest.raises(ValueError, match="what until gives"):
        agent.act(torch.zeros(1))


def test_it_plans_again_after_every_second_action_from_where_it_was():
    asked = []

    def planner(cost, space, *, generator, initial):
        asked.append((space, initial))
        return cem(cost, space, samples=8, elites=2, iterations=1, generator=generator)

    space = Space(torch.zeros(4, 2), 0.2, low=-1.0, high=2.0)
    agent = MPC(planner, to_zero, space, every=2, generator=seeded())
    plans = []
    for _ in range(5):
        agent.act(torch.zeros(2))
        plans.append(agent.plan)
    assert len(asked) == 3
    assert plans[0] is plans[1] is not plans[2]
    assert asked[0][1] is None
    later, initial = asked[1]
    assert torch.equal(later.mean[:2], plans[0].actions[2:])
    assert torch.equal(later.mean[2:], plans[0].actions[3:].expand(2, -1))
    for name in ("std", "low", "high"):
        assert torch.equal(getattr(later, name), getattr(space, name))
    assert initial.shape == (2, 4, 2)
    agent.reset()
    agent.act(torch.zeros(2))
    assert asked[-1][0] is space
    with pytest.raises(ValueError, match=r"every from 1 to 4 \(the horizon\), got 5"):
        MPC(planner, to_zero, space, every=5)
