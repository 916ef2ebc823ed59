"""Candidates over several devices: the plan of two is the plan of one."""

import copy

import pytest
import torch

from egowm.planning import Space, cem, goal_cost, gradient, icem, sharded
from egowm.planning.costs import Frames, Pixels
from egowm.planning.sharded import _COPIES
from egowm.sampling import Sampling
from tests.planning.conftest import seeded


@pytest.fixture
def model(obedient):
    """One that is not shared with other tests."""
    return copy.deepcopy(obedient)


@pytest.fixture
def cost(model):
    """Of pixels, 4 candidates at once."""
    context, goal = (torch.rand(1, 1, 3, 16, 16, generator=seeded(k)) for k in (2, 3))
    return goal_cost(model, context, goal[0, 0], Sampling(steps=1, micro_batch=4), by="pixels")


def actions_of(model, count: int) -> torch.Tensor:
    space = Space.of(model.spec, horizon=3)
    return space.bounded(space.mean + space.std * torch.randn(count, 3, 3, generator=seeded(1)))


def test_the_plan_of_two_is_the_plan_of_one(model, cost):
    """To the bit: there is a micro-batch for each device in every round."""
    both = sharded(cost, ["cpu", "cpu"])
    plans = [
        cem(x, Space.of(model.spec, 3), samples=8, elites=3, iterations=3, generator=seeded())
        for x in (cost, both)
    ]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert torch.equal(plans[0].elites, plans[1].elites)
    assert plans[0].cost == plans[1].cost
    assert both.candidates == cost.candidates == 24
    assert plans[0].cost < float(cost(Space.of(model.spec, 3).mean[None]))


@pytest.mark.parametrize(
    "count", [1, 3, 9, *(pytest.param(count, marks=pytest.mark.long) for count in (2, 5, 8, 17))]
)
def test_costs_of_any_number_of_candidates(count, model, cost):
    actions = actions_of(model, count)
    found = sharded(cost, ["cpu"] * 3)(actions)
    torch.testing.assert_close(found, cost(actions), rtol=1e-5, atol=1e-7)
    assert found.std() > 1e-6 or count == 1


@pytest.mark.long
def test_how_candidates_are_given_out(model, cost):
    """Micro-batches of one device where they suffice for all, else evenly."""
    both, actions = sharded(cost, ["cpu", "cpu"]), actions_of(model, 11)
    assert [len(part) for part in both._lot(actions)] == [4, 4]
    assert [len(part) for part in both._lot(actions[:7])] == [4, 3]
    assert [len(part) for part in both._lot(actions[:5])] == [3, 2]
    assert [len(part) for part in both._lot(actions[:1])] == [1]


@pytest.mark.long
def test_a_model_is_copied_once_and_again_when_it_has_changed(model, cost):
    sharded(cost, ["cpu", "cpu"])
    _, before = _COPIES[model]
    assert len(before) == 1
    (first,) = before.values()
    sharded(cost, ["cpu", "cpu"])
    assert [*_COPIES[model][1].values()] == [first]
    actions = actions_of(model, 8)
    with torch.no_grad():
        model.action_embedding.linear_2.weight += 1.0
    both = sharded(cost, ["cpu", "cpu"])
    assert torch.equal(both(actions), cost(actions))
    (second,) = _COPIES[model][1].values()
    assert second is not first


def test_terms_are_applied_by_one_device_after_the_other(model, cost):
    """A term of one's own may hold a network or a state: it is never called by two threads."""
    import threading

    seen = []

    def bright(frames):
        seen.append((threading.current_thread() is threading.main_thread(), len(frames)))
        return frames.mean((1, 2, 3, 4))

    mine = goal_cost(model, cost.context, Frames(bright), Sampling(steps=1, micro_batch=4))
    sharded(mine, ["cpu", "cpu"])(actions_of(model, 8))
    assert seen == [(True, 4), (True, 4)]


@pytest.mark.long
def test_a_gradient_goes_through_both(model, cost):
    space = Space.of(model.spec, 3)
    plans = [
        gradient(x, space, samples=8, iterations=2, generator=seeded())
        for x in (cost, sharded(cost, ["cpu", "cpu"]))
    ]
    torch.testing.assert_close(plans[0].actions, plans[1].actions, rtol=1e-4, atol=1e-6)


def test_memory_that_does_not_suffice(model, cost, monkeypatch, caplog):
    both, made = sharded(cost, ["cpu", "cpu"]), []
    imagine = type(cost).imagine

    def fits(self, actions):
        made.append(len(actions))
        if len(actions) > 2:
            raise torch.OutOfMemoryError("full")
        return imagine(self, actions)

    monkeypatch.setattr(type(cost), "imagine", fits)
    actions = actions_of(model, 8)
    found = both(actions)
    monkeypatch.undo()
    assert made.count(2) == 4
    assert made.count(4) in (1, 2)  # the second may not have begun when the first failed
    assert "candidates at once that do not fit: 4, now 2" in caplog.text
    torch.testing.assert_close(found, cost(actions), rtol=1e-5, atol=1e-7)
    monkeypatch.setattr(
        type(cost), "imagine", lambda self, actions: fits(self, actions.repeat(3, 1, 1))
    )
    with pytest.raises(torch.OutOfMemoryError, match="does not hold one candidate"):
        both(actions)


def test_an_error_of_a_device_is_raised(cost, monkeypatch):
    def fail(self, actions):
        raise ValueError("the device is gone")

    monkeypatch.setattr(type(cost), "imagine", fail)
    with pytest.raises(ValueError, match="the device is gone"):
        icem(sharded(cost, ["cpu", "cpu"]), Space(torch.zeros(3, 3), 0.1), samples=8, elites=2,
             iterations=1)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ([], "Expected from 1 to 1024 devices, got 0"),
        (["abacus"], "Expected a device such as cpu or cuda:1, got 'abacus'"),
        (["cpu", "cuda:99"], "cuda:99: torch finds"),
    ],
)
def test_devices_that_are_not_there(devices, words, cost):
    with pytest.raises(ValueError, match=words):
        sharded(cost, devices)


def test_a_cost_of_a_simulator_is_refused(cost):
    class Simulator:
        device = torch.device("cpu")

    cost.model = Simulator()
    with pytest.raises(ValueError, match="Expected the cost of a network's imagination"):
        sharded(cost, ["cpu", "cpu"])


def test_the_term_s_goal_stays_where_it_is(model, cost):
    assert isinstance(sharded(cost, ["cpu"]).costs[0].term, Pixels)
    assert sharded(cost, ["cpu"]).costs[0].model is model
