"""Body motions to Cosmos 3's camera steps: closed forms, integrated poses, back, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from egowm.actions import ActionSpec
from egowm.backbones.cosmos3.pose import CameraSteps, known_domains

WHEELED = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), "body", "se2", 4.0)
FLYING = ActionSpec(
    ("dx", "dy", "dz", "rx", "ry", "rz"), ("m",) * 3 + ("rad",) * 3, "body", "se3", 30.0
)
# What an OpenCV camera calls right, down and ahead, of a body's x ahead, y left, z up.
SEEN = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
motions = arrays.arrays(np.float32, (5, 6), elements=st.floats(-1.75, 1.75, width=32))


def convert(rows, spec=WHEELED, **options) -> np.ndarray:
    return CameraSteps(**options)(torch.tensor(rows, dtype=torch.float32), spec).numpy()


def exponential(vector: np.ndarray) -> np.ndarray:
    x, y, z = np.asarray(vector, np.float64)
    return torch.linalg.matrix_exp(
        torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    ).numpy()


def rigid(step: np.ndarray) -> np.ndarray:
    """The homogeneous matrix of 3 metres and a rotation vector."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = exponential(step[3:]), step[:3]
    return out


def decode(row: np.ndarray) -> np.ndarray:
    """The homogeneous matrix of 9 numbers: two columns, and the third by the cross product."""
    first, second = row[3:6].astype(np.float64), row[6:].astype(np.float64)
    out = np.eye(4)
    out[:3, :3] = np.stack([first, second, np.cross(first, second)], 1)
    out[:3, 3] = row[:3]
    return out


def test_standing_still_is_the_identity():
    assert convert([[0.0, 0.0, 0.0]]).tolist() == [[0, 0, 0, 1, 0, 0, 0, 1, 0]]


def test_ahead_is_z_and_left_is_minus_x():
    assert convert([[0.5, 0.25, 0.0]])[0, :3].tolist() == [-0.25, 0, 0.5]
    up = convert([[0.0, 0.0, 0.125, 0.0, 0.0, 0.0]], FLYING)
    assert up[0, :3].tolist() == [0, -0.125, 0]


@pytest.mark.parametrize("turn", [0.3, -1.2, np.pi / 2, np.pi])
def test_turning_left_is_about_the_axis_that_points_down(turn):
    """An OpenCV camera turns left by a negative rotation about y: columns (c, 0, s) and y."""
    row = convert([[0.0, 0.0, turn]])[0]
    expected = [0, 0, 0, np.cos(turn), 0, np.sin(turn), 0, 1, 0]
    np.testing.assert_allclose(row, expected, atol=1e-6)


def test_looking_down_shows_in_the_second_column():
    """A positive rotation about the body's y (left) lowers the nose: columns, not rows."""
    row = convert([[0.0, 0.0, 0.0, 0.0, 0.4, 0.0]], FLYING)[0]
    expected = [0, 0, 0, 1, 0, 0, 0, np.cos(0.4), -np.sin(0.4)]
    ahead = decode(row)[:3, 2]
    assert ahead[1] > 0  # down is y
    expected[8] = -ahead[1]
    np.testing.assert_allclose(row, expected, atol=1e-6)
    np.testing.assert_allclose(ahead, [0, np.sin(0.4), np.cos(0.4)], atol=1e-6)


def test_a_camera_ahead_of_the_axle_swings_sideways():
    c, s = np.cos(0.3), np.sin(0.3)
    row = convert([[0.0, 0.0, 0.3]], mount=(0.5, 0.0, 1.2, 0.0, 0.0, 0.0))[0]
    np.testing.assert_allclose(row[:3], [-0.5 * s, 0, 0.5 * (c - 1)], atol=1e-6)


def test_scale_and_axes():
    ahead = [[0.5, 0.25, 0.1]]
    assert convert(ahead, domain="av")[0, 2] == pytest.approx(0.5 * 1.35)
    assert convert(ahead, domain="av", translation_scale=2.0)[0, 2] == pytest.approx(1.0)
    np.testing.assert_array_equal(convert(ahead, domain="av")[:, 3:], convert(ahead)[:, 3:])
    np.testing.assert_allclose(convert(ahead, axes="body")[0, :3], [0.5, 0.25, 0], atol=1e-7)


@given(motions)
def test_steps_are_those_between_integrated_camera_poses(rows):
    """`T_k^-1 T_k+1` of camera-to-world poses, a camera mounted askew on the body."""
    mount = np.array([0.3, -0.1, 0.9, 0.05, 0.4, -0.2])
    axes = np.eye(4)
    axes[:3, :3] = SEEN.T
    body, cameras = np.eye(4), [rigid(mount) @ axes]
    for row in rows:
        body = body @ rigid(row)
        cameras.append(body @ rigid(mount) @ axes)
    found = convert(rows, FLYING, mount=tuple(mount))
    for k, row in enumerate(found):
        expected = np.linalg.inv(cameras[k]) @ cameras[k + 1]
        np.testing.assert_allclose(decode(row), expected, atol=1e-5)


@given(motions)
def test_se3_comes_back(rows):
    for row, made in zip(rows, convert(rows, FLYING), strict=True):
        step = decode(made)
        np.testing.assert_allclose(SEEN.T @ step[:3, 3], row[:3], atol=1e-6)
        back = SEEN.T @ step[:3, :3] @ SEEN
        np.testing.assert_allclose(back, exponential(row[3:]), atol=1e-6)


@given(arrays.arrays(np.float32, (4, 3), elements=st.floats(-3, 3, width=32)))
def test_se2_comes_back(rows):
    made = convert(rows)
    back = np.stack([made[:, 2], -made[:, 0], np.arctan2(made[:, 5], made[:, 3])], 1)
    np.testing.assert_allclose(back, rows, atol=1e-6)


def test_batches_keep_their_shape():
    actions = torch.zeros(2, 7, 3)
    actions[1, 4, 0] = 0.5
    found = CameraSteps()(actions, WHEELED)
    assert found.shape == (2, 7, 9)
    assert found.dtype == torch.float32
    assert found[..., 2].nonzero().tolist() == [[1, 4]]


def test_every_width_of_diffusers_is_listed():
    listed = [part.split(":") for part in known_domains().split("; ")]
    assert [int(width) for width, _ in listed] == [2, 9, 10, 20, 29, 30, 57]
    assert dict(listed)["9"] == " av, camera_pose"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            ActionSpec(("v", "w"), ("m/s", "rad/s"), "command", "command", 4.0),
            r"2: pusht; 9: av, camera_pose; 10: .*; 57: hand_pose\).*got kind command with 2: v, w",
        ),
        (replace(FLYING, kind="difference"), "got kind difference with 6"),
        (replace(WHEELED, units=("m", "m", "deg")), "units m, m, rad, got .* m, m, deg"),
        (replace(FLYING, frame="world"), "the frame body .* got the frame world"),
    ],
)
def test_other_actions_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        CameraSteps()(torch.zeros(1, spec.width), spec)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"domain": "pusht"}, "domain camera_pose or av, got 'pusht'"),
        ({"axes": "opengl"}, "axes opencv or body, got 'opengl'"),
        ({"mount": (0.0, 1.0)}, "mount of 6 numbers"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        CameraSteps(**options)
