"""Where a planner looks: what a `Space` holds and refuses, and what the old call is told."""

import doctest
from dataclasses import replace
from functools import partial

import pytest
import torch

import egowm
from egowm.actions import ActionSpec
from egowm.planning import MPC, Space, cem, search, space, straight_line
from tests.planning.conftest import MEAN, PLANNERS, SPACE, bowl

CALLS = {name: planner.func for name, planner in PLANNERS.items()} | {
    "straight_line": partial(straight_line, horizon=4),
    "MPC": partial(MPC, partial(cem, samples=4, elites=2, iterations=1)),
}


def test_the_space_of_a_spec(spec):
    made = Space.of(spec, horizon=4)
    for values in (made.mean, made.std, made.low, made.high):
        assert values.shape == (4, 3)
        assert torch.equal(values, values[:1].expand(4, -1))
    assert made.mean[0].tolist() == [0, 0, 0]
    assert made.std[0].tolist() == pytest.approx([0.15, 0.05, 0.05])
    assert made.low[0].tolist() == pytest.approx([-0.3, -0.1, -0.1])
    assert made.high[0].tolist() == pytest.approx([0.3, 0.1, 0.1])
    wide = Space.of(spec, margin=1.5)
    assert wide.mean.shape == (8, 3)
    assert wide.high[0].tolist() == pytest.approx([0.45, 0.15, 0.15])
    assert wide.std[0].tolist() == pytest.approx([0.225, 0.075, 0.075])


def test_a_command_that_never_changed_stays_where_it_was():
    names, units = ("speed", "lamp"), ("m/s", "1")
    spec = ActionSpec(names, units, "command", "command", 4.0, (1.0, 0.7), (3.0, 0.7))
    made = Space.of(spec, horizon=1)
    assert made.mean[0].tolist() == pytest.approx([2.0, 0.7])
    assert made.std[0].tolist() == [0.5, 0.0]
    assert made.low[0].tolist() == pytest.approx([1.0, 0.7])
    assert made.high[0].tolist() == pytest.approx([3.0, 0.7])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spec": ActionSpec(("x",), ("m",), "body", "difference", 4.0)}, "with a range, got one"),
        ({"horizon": 0}, "horizon of at least 1 and a margin above 0, got 0 and 1"),
        ({"margin": 0.0}, "got 8 and 0"),
        ({"margin": float("nan")}, "margin to be a number, got nan"),
    ],
)
def test_a_spec_that_makes_no_space_is_refused(spec, options, words):
    with pytest.raises(ValueError, match=words):
        Space.of(**({"spec": spec} | options))


def test_values_broadcast_to_the_mean_and_take_its_type():
    each_step = torch.tensor([[0.2], [0.05], [1.0]], requires_grad=True)
    made = Space(MEAN.double(), 1, torch.tensor([-0.1, -1.0]), each_step)
    assert made.std.tolist() == [[1, 1]] * 3
    assert made.low[2].tolist() == pytest.approx([-0.1, -1.0])
    assert made.high[:, 1].tolist() == pytest.approx([0.2, 0.05, 1.0])
    for values in (made.mean, made.std, made.low, made.high):
        assert (values.shape, values.dtype) == ((3, 2), torch.float64)
        assert not values.requires_grad
    moved = replace(made, mean=made.mean + 0.01)
    assert torch.equal(moved.high, made.high)
    assert moved.bounded(torch.full((1, 3, 2), 0.1, dtype=torch.float64)).tolist() == [
        [[0.1, 0.1], [pytest.approx(0.05), pytest.approx(0.05)], [0.1, 0.1]]
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": torch.zeros(3)}, r"mean \(T, A\), got \(3,\)"),
        ({"mean": torch.zeros(0, 2)}, r"mean \(T, A\), got \(0, 2\)"),
        ({"mean": torch.zeros(3, 2, dtype=torch.long)}, r"mean \(T, A\), .* of torch.int64"),
        ({"mean": torch.full((3, 2), torch.nan)}, "step 0, dimension 0 it is nan"),
        ({"std": torch.ones(3)}, r"std to broadcast to \(T, A\) = \(3, 2\), got \(3,\)"),
        ({"std": -1.0}, "std of 0 or more"),
        ({"std": torch.inf}, "std of 0 or more"),
        ({"low": None}, "low to be .* several, each a number or a number, got None"),
        ({"high": torch.ones(4, 3, 2)}, r"high to broadcast to \(T, A\) = \(3, 2\), got \(4, 3"),
        ({"low": 1.0, "high": -1.0}, "low <= high, got 1 and -1 at step 0, dimension 0"),
        ({"low": torch.tensor([0.0, 0.2])}, "step 0, dimension 1 it is 0, outside 0.2 to inf"),
    ],
)
def test_what_makes_no_space_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Space(**({"mean": MEAN, "std": 0.5} | options))


@pytest.mark.parametrize(("block", "shape"), [(1, (3,)), (4, (4, 3))])
def test_an_environment_takes_the_actions_of_its_space(spec, block, shape):
    class Worlds(list):
        """As much of `ImaginedWorlds` as the spaces are made of."""

        contexts = torch.zeros(2, 1, 3, 16, 16)

    worlds = Worlds([0, 0])
    worlds.spec, worlds.block = spec, block
    actions = egowm.planning.WorldModelEnv(worlds).single_action_space
    assert actions.shape == shape
    assert actions.low.reshape(-1, 3).tolist() == [pytest.approx([-0.3, -0.1, -0.1])] * block
    assert actions.high.reshape(-1, 3).tolist() == [pytest.approx([0.3, 0.1, 0.1])] * block


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize(
    ("given", "keywords"),
    [
        ((MEAN, 0.5), {"low": -1.0, "high": 1.0}),
        ((MEAN,), {}),
        ((), {"mean": MEAN, "std": 0.5}),
        ((), {"space": MEAN}),
        ((Space(MEAN, 0.5),), {"low": -1.0}),
    ],
)
def test_a_mean_and_a_std_in_place_of_a_space_are_told_the_new_form(name, given, keywords):
    first = "planner, cost_of" if name == "MPC" else "cost"
    words = rf"^{name} takes mean, std, low and high as one Space: write {name}\({first}, Space\("
    with pytest.raises(TypeError, match=words) as said:
        CALLS[name](bowl, *given, **keywords)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("loose", [{"seconds": 1.0}, {"progress": True}])
def test_seconds_and_progress_are_told_the_budget(name, loose):
    words = (
        f"^{name} takes seconds and progress in a Budget: write iterations=Budget\\(iterations, "
    )
    with pytest.raises(TypeError, match=words):
        CALLS[name](bowl, SPACE, **loose)


def test_public_names():
    assert egowm.Space is Space
    with pytest.raises(ImportError, match=r"bounds_of is gone: Space\.of\(spec, horizon\) has low"):
        from egowm.planning import bounds_of  # noqa: F401


@pytest.mark.parametrize(("module", "least"), [(space, 9), (search, 1)])
def test_doctests(module, least):
    failed, tried = doctest.testmod(module)
    assert failed == 0
    assert tried >= least
