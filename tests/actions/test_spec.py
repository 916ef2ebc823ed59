"""What an action means: normalising, composing over skipped frames, refusing what does not fit."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from egowm.actions import ActionSpec, compose, integrate
from egowm.actions import spec as spec_module

ROBOT = ActionSpec(
    ("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0, (-0.3, -0.1, -0.2), (0.3, 0.1, 0.2)
)
small = st.floats(-2, 2, width=32)


@given(arrays.arrays(np.float32, (4, 3), elements=small))
def test_denormalise_inverts_normalise(values):
    back = ROBOT.denormalise(ROBOT.normalise(torch.from_numpy(values)))
    torch.testing.assert_close(back, torch.from_numpy(values), atol=1e-5, rtol=1e-5)


def test_min_max():
    spec = replace(ROBOT, kind="command", low=(0.0, -1.0, 2.0), high=(4.0, 1.0, 3.0))
    ends = torch.tensor([[0.0, -1.0, 2.0], [4.0, 1.0, 3.0], [1.0, 0.5, 2.5]])
    expected = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [-0.5, 0.5, 0.0]])
    torch.testing.assert_close(spec.normalise(ends), expected)


def test_a_constant_dimension_is_zero_and_comes_back():
    spec = replace(ROBOT, low=(-0.3, 0.7, -0.2), high=(0.3, 0.7, 0.2))
    normalised = spec.normalise(torch.tensor([[0.3, 0.7, 0.2], [0.3, 5.0, 0.2]]))
    assert normalised.tolist() == [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    torch.testing.assert_close(spec.denormalise(normalised)[:, 1], torch.tensor([0.7, 0.7]))
    assert spec.check(torch.tensor([[0.0, 0.7, 0.0], [0.0, 0.8, 0.0]])) == 1


def test_fitted_ranges():
    rows = [np.array([[0.1, 0, -0.2]]), np.array([[0.4, 0, 0.1], [0.2, 0, 0]])]
    motion = ROBOT.fitted(rows)
    np.testing.assert_allclose(motion.high, [0.4, 0, 0.2])
    np.testing.assert_allclose(motion.low, [-0.4, 0, -0.2])
    assert motion.normalise(torch.zeros(1, 3)).abs().max() == 0  # no motion stays at 0
    command = replace(ROBOT, kind="command").fitted(rows)
    assert (command.low, command.high) == ((0.1, 0.0, -0.2), (0.4, 0.0, 0.1))
    assert all(type(value) is float for value in (*command.low, *command.high))  # for JSON
    with pytest.raises(ValueError, match="No actions to measure"):
        ROBOT.fitted([np.zeros((0, 3))])


def test_a_wrong_width_is_refused():
    with pytest.raises(ValueError, match=r"\(\.\.\., T, 3\): dx, dy, dyaw; got \(1, 5, 2\)"):
        ROBOT.check(torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        ROBOT.check(torch.zeros(3))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_is_refused_by_step_and_name(value):
    values = torch.zeros(2, 5, 3)
    values[1, 3, 2] = value
    with pytest.raises(ValueError, match=r"Action 3, dimension 2 \(dyaw\)"):
        ROBOT.check(values)


def test_values_outside_are_counted_and_warned_once(caplog):
    spec_module._WARNED.clear()
    inside = torch.tensor([[0.45, -0.15, 0.3], [-0.45, 0.0, 0.0]])  # exactly 1.5 times the range
    assert ROBOT.check(inside) == 0
    outside = inside * 1.01
    with caplog.at_level(logging.WARNING, "egowm"):
        assert ROBOT.check(outside) == 4
        assert ROBOT.check(outside[None].repeat(3, 1, 1)) == 12
    assert [record.message.partition("range: ")[2] for record in caplog.records] == [
        "dx 0.454 (-0.3..0.3 m), dy -0.152 (-0.1..0.1 m), dyaw 0.303 (-0.2..0.2 rad)"
    ]
    with pytest.raises(ValueError, match=r"4 action values lie beyond 1\.5 times"):
        ROBOT.check(outside, strict=True)


def test_what_is_meant_is_counted_and_not_warned_of(caplog):
    spec_module._WARNED.clear()
    outside = torch.tensor([[0.9, 0.0, 0.0]])
    with caplog.at_level(logging.WARNING, "egowm"):
        with spec_module.meant():
            assert ROBOT.check(outside) == 1
        assert not caplog.records
        ROBOT.check(outside)  # outside of the block a user is told, also after it
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"names": ("dx", "dy", "turn")}, "differ in names.*dyaw.*turn"),
        ({"units": ("m", "m", "deg")}, "differ in units.*rad.*deg"),
        ({"frame": "command"}, "differ in frame: body against command"),
        ({"kind": "command"}, "differ in kind: se2 against command"),
        ({"rate_hz": 2.0}, "trained at 4 Hz, the data come at 2 Hz"),
    ],
)
def test_another_meaning_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ROBOT.compare(replace(ROBOT, **change))


def test_other_ranges_are_the_same_meaning():
    other = replace(ROBOT, low=(), high=(), rate_hz=4.01)
    assert other != ROBOT
    ROBOT.compare(other)  # raises for another meaning, see above


def test_specs_that_make_no_sense():
    with pytest.raises(ValueError, match="3 names but 2 units"):
        replace(ROBOT, units=("m", "m"))
    with pytest.raises(ValueError, match="se2 has 3 dimensions"):
        ActionSpec(("v",), ("m/s",), "command", "se2", 4.0)
    with pytest.raises(ValueError, match="se3 has 6 dimensions"):
        replace(ROBOT, kind="se3")
    with pytest.raises(ValueError, match="no range yet"):
        replace(ROBOT, low=(), high=()).normalise(torch.zeros(1, 3))


def test_json_round_trip(tmp_path):
    ROBOT.save(tmp_path / "spec.json")
    assert ActionSpec.load(tmp_path / "spec.json") == ROBOT


def poses(steps: np.ndarray) -> np.ndarray:
    """World poses (N+1, 3) by multiplying homogeneous matrices, written independently."""
    world, out = np.eye(3), [np.zeros(3)]
    for dx, dy, turn in steps.astype(np.float64):
        c, s = np.cos(turn), np.sin(turn)
        world = world @ np.array([[c, -s, dx], [s, c, dy], [0, 0, 1]])
        out.append(np.array([world[0, 2], world[1, 2], np.arctan2(world[1, 0], world[0, 0])]))
    return np.array(out)


@given(arrays.arrays(np.float32, (7, 3), elements=small), st.integers(1, 4))
def test_composed_poses_land_where_the_steps_do(steps, stride):
    composed = compose(steps, stride, "se2")
    assert composed.shape == (7 // stride, 3)
    assert composed.dtype == np.float32
    difference = poses(composed) - poses(steps)[::stride][: len(composed) + 1]
    difference[:, 2] = np.angle(np.exp(1j * difference[:, 2]))
    assert np.abs(difference).max() < 1e-4


def test_compose_by_kind():
    rows = np.array([[1.0, 2.0], [3.0, 5.0], [0.0, 1.0], [4.0, 1.0], [9.0, 9.0]])
    assert compose(rows, 2, "difference").tolist() == [[4.0, 7.0], [4.0, 2.0]]
    assert compose(rows, 2, "command").tolist() == [[2.0, 3.5], [2.0, 1.0]]
    quarter = np.array([[1.0, 0.0, np.pi / 2]] * 3)  # three sides of a square
    np.testing.assert_allclose(compose(quarter, 3, "se2"), [[0, 1, -np.pi / 2]], atol=1e-6)


def matrix(step: np.ndarray) -> np.ndarray:
    """The homogeneous matrix of (dx, dy, dz, rotation vector), by the matrix exponential."""
    x, y, z = step[3:].astype(np.float64)
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = torch.linalg.matrix_exp(skew).numpy(), step[:3]
    return out


@given(arrays.arrays(np.float32, (7, 6), elements=small), st.integers(1, 4))
def test_composed_se3_poses_are_matrix_products(steps, stride):
    composed = compose(steps, stride, "se3")
    assert composed.shape == (7 // stride, 6)
    assert composed.dtype == np.float32
    assert (np.linalg.norm(composed[:, 3:], axis=1) <= np.pi + 1e-6).all()
    for k, step in enumerate(composed):
        expected = np.linalg.multi_dot(
            [np.eye(4), *map(matrix, steps[k * stride : (k + 1) * stride]), np.eye(4)]
        )
        np.testing.assert_allclose(matrix(step), expected, atol=1e-5)


@given(arrays.arrays(np.float32, (6, 3), elements=small))
def test_se3_in_the_plane_is_se2(steps):
    lifted = np.zeros((6, 6), np.float32)
    lifted[:, [0, 1, 5]] = steps
    flat, space = compose(steps, 3, "se2"), compose(lifted, 3, "se3")
    np.testing.assert_allclose(space[:, [2, 3, 4]], 0, atol=1e-6)
    np.testing.assert_allclose(space[:, :2], flat[:, :2], atol=1e-5)
    turn = np.exp(1j * space[:, 5].astype(np.float64))
    np.testing.assert_allclose(turn, np.exp(1j * flat[:, 2].astype(np.float64)), atol=1e-5)


ARM = ActionSpec(("hip", "knee"), ("rad", "rad"), "joint", "difference", 5.0)
POSTURE = replace(ARM, kind="command")


@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
@pytest.mark.parametrize("shared", [True, False])
def test_states_follow_from_differences(chunk, shared):
    """The state at step k is the first plus k(k+1)/2, seen at the start of each chunk."""
    steps = torch.arange(1.0, 8)[:, None] * torch.tensor([1.0, -2.0])
    moves = torch.stack([steps, 10 * steps])  # (N, T = 7, S)
    first = torch.tensor([[100.0, 200.0]] if shared else [[100.0, 200.0], [300.0, 400.0]])
    found = integrate(first, moves, ARM, POSTURE, chunk)
    starts = torch.arange(0, 7, chunk)
    walked = (starts * (starts + 1) / 2)[:, None] * torch.tensor([1.0, -2.0])
    expected = first[:, None] + torch.stack([walked, 10 * walked])
    assert torch.equal(found, expected)


@pytest.mark.parametrize("horizon", [1, 4])
def test_one_chunk_needs_no_later_state(horizon):
    """Whatever the actions are, and without a copy for each sequence."""
    first = torch.tensor([[3.0, 4.0, 5.0]])
    found = integrate(first, torch.ones(2, horizon, 3), ROBOT, replace(ROBOT, kind="command"), 4)
    assert torch.equal(found, first[:, None])


@pytest.mark.parametrize(
    ("spec", "state_spec"),
    [
        (replace(ARM, kind="command"), POSTURE),
        (ARM, replace(POSTURE, names=("knee", "hip"))),
        (ARM, ActionSpec(("height",), ("m",), "world", "command", 5.0)),
    ],
)
def test_states_that_do_not_follow_are_asked_for(spec, state_spec):
    words = rf"Give a state for the start of every chunk of 2: \(N, chunks, {state_spec.width}\)"
    with pytest.raises(ValueError, match=words):
        integrate(torch.zeros(1, state_spec.width), torch.ones(1, 3, 2), spec, state_spec, 2)


def test_a_normaliser_for_each_dimension(tmp_path):
    names, kinds = ("a", "b", "c", "d"), ("min-max", "quantile", "mean-std", "none")
    spec = ActionSpec(names, ("m",) * 4, "command", "command", 4.0, normalisers=kinds)
    values = np.linspace(2, 6, 401)
    rows = np.stack([values, values, values, values], 1)
    rows[0, 1] = 1000.0  # one wrong value does not squeeze the others
    fitted = spec.fitted([rows])
    low, high = np.array(fitted.low), np.array(fitted.high)
    np.testing.assert_allclose((low[0], high[0]), (2, 6))
    np.testing.assert_allclose((low[1], high[1]), (2.05, 5.97), atol=0.02)
    mean, std = values.mean(), values.std()
    np.testing.assert_allclose((low[2], high[2]), (mean - std, mean + std))
    normalised = fitted.normalise(torch.from_numpy(rows))
    np.testing.assert_allclose(normalised[:, 2], (values - mean) / std, atol=1e-9)
    np.testing.assert_allclose(normalised[:, 3], values, atol=1e-12)
    torch.testing.assert_close(fitted.denormalise(normalised), torch.from_numpy(rows))
    fitted.save(tmp_path / "spec.json")
    assert ActionSpec.load(tmp_path / "spec.json") == fitted


def test_what_lies_outside_depends_on_the_normaliser():
    kinds = ("mean-std", "none")
    spec = ActionSpec(("a", "b"), ("m", "m"), "command", "command", 4.0, (-1, -1), (1, 1), kinds)
    assert spec.check(torch.tensor([[4.4, 1e6], [0.0, 0.0]])) == 0
    assert spec.check(torch.tensor([[4.6, 1e6], [0.0, 0.0]])) == 1


def test_motion_stays_at_zero_under_quantiles():
    rows = np.array([[0.1, 0, -0.2]] * 50 + [[0.4, 0, 0.1]] * 50)
    fitted = replace(ROBOT, normalisers=("quantile",) * 3).fitted([rows])
    assert fitted.normalise(torch.zeros(1, 3)).abs().max() == 0


def test_files_without_normalisers_mean_min_max_and_stay_as_they_were(tmp_path):
    written = json.dumps(
        {
            "names": ["dx", "dy", "dyaw"],
            "units": ["m", "m", "rad"],
            "frame": "body",
            "kind": "se2",
            "rate_hz": 4.0,
            "low": [-0.3, -0.1, -0.2],
            "high": [0.3, 0.1, 0.2],
        },
        indent=2,
    )
    (tmp_path / "old.json").write_text(written)
    old = ActionSpec.load(tmp_path / "old.json")
    assert old == ROBOT
    assert json.dumps(old.record(), indent=2) == written
    assert replace(old, normalisers=("min-max",) * 3) == old
    with pytest.raises(ValueError, match=r"normalisers to be several, each .*z-score"):
        replace(old, normalisers=("z-score",) * 3)
    with pytest.raises(ValueError, match="3 names but 2 normalisers"):
        replace(old, normalisers=("none", "quantile"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("names", 7, "names: expected a list, got 7"),
        ("names", ["dx", 2, "dyaw"], r"names\[1\]: expected a text, got 2"),
        ("units", ["m"], "3 names but 1 unit"),
        ("frame", None, "frame: expected a text"),
        ("kind", "se4", "kind se2, se3, command or difference, got 'se4'"),
        ("rate_hz", "4", "rate_hz: expected a number, got '4'"),
        ("rate_hz", float("nan"), "rate_hz: expected a number, got nan"),
        ("rate_hz", -4.0, "expected a rate above 0 Hz, got -4"),
        ("low", [0.0, None, 0.0], r"low\[1\]: expected a number, got None"),
        ("low", [9.0, 0.0, 0.0], "expected finite low <= high"),
        ("high", [], "expected finite low <= high"),
        ("normalisers", [[], [], []], r"normalisers\[0\]: expected a text"),
        ("colour", "red", "unexpected keyword argument 'colour'"),
    ],
)
def test_what_a_file_holds_is_checked(spec, tmp_path, field, value, words):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec.record() | {field: value}))
    with pytest.raises(ValueError, match=rf"^{path}: .*{words}"):
        ActionSpec.load(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"names": ["dx"]}'])
def test_a_file_that_holds_no_spec(tmp_path, content):
    path = tmp_path / "spec.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: expected an ActionSpec; "):
        ActionSpec.load(path)
