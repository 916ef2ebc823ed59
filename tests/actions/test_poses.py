"""Paths against products of matrices; rotations against Rodrigues' formula and the matrix
exponential, up to and at half a turn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from egowm.actions.poses import (
    planar_path,
    product,
    quaternion,
    rotated,
    rotation_matrix,
    rotation_vector,
)

vectors = arrays.arrays(np.float64, (3,), elements=st.floats(-4, 4))


def skew(vector: np.ndarray) -> np.ndarray:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def exponential(vector: np.ndarray) -> np.ndarray:
    """The rotation matrix by definition."""
    return torch.linalg.matrix_exp(torch.from_numpy(skew(vector))).numpy()


@given(vectors)
def test_matrix_is_the_exponential(vector):
    np.testing.assert_allclose(rotation_matrix(vector), exponential(vector), atol=1e-12)


def test_matrix_is_rodrigues_formula():
    vector = np.array([0.3, -0.5, 0.2])
    angle = np.linalg.norm(vector)
    k = skew(vector / angle)
    expected = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    np.testing.assert_allclose(rotation_matrix(vector), expected, atol=1e-15)


@given(vectors, vectors)
def test_product_is_the_matrix_product(first, second):
    found = rotation_matrix(rotation_vector(product(quaternion(first), quaternion(second))))
    np.testing.assert_allclose(found, exponential(first) @ exponential(second), atol=1e-12)


@given(vectors, vectors)
def test_points_turn_as_with_the_matrix(vector, point):
    expected = exponential(vector) @ point
    np.testing.assert_allclose(rotated(quaternion(vector), point), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-12, 1e-4, 1.0, np.pi - 1e-9, np.pi])
def test_vector_and_quaternion_round_trip(angle):
    axes = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.48, 0.6, 0.64]])
    found = rotation_vector(quaternion(angle * axes))
    if angle == np.pi:  # either direction is the same half turn
        found = np.where((found * axes).sum(-1, keepdims=True) < 0, -found, found)
    np.testing.assert_allclose(found, angle * axes, rtol=1e-12, atol=1e-15)


def test_the_shortest_turn_is_returned():
    found = rotation_vector(quaternion(np.array([0, 0, 1.5 * np.pi])))
    np.testing.assert_allclose(found, [0, 0, -np.pi / 2], atol=1e-15)
    assert rotation_vector(quaternion(np.zeros((2, 5, 3)))).shape == (2, 5, 3)


def test_a_quarter_circle_ends_where_it_must():
    turn = np.pi / 2 / 9
    step = [2 * np.sin(turn), 2 * (1 - np.cos(turn)), turn]
    poses = planar_path(np.tile(step, (9, 1)))
    assert poses.shape == (10, 3)
    np.testing.assert_allclose(poses[0], 0, atol=1e-12)
    np.testing.assert_allclose(poses[-1], [2, 2, np.pi / 2], atol=1e-12)
    np.testing.assert_allclose(np.hypot(poses[:, 0], poses[:, 1] - 2), 2, atol=1e-12)


def test_paths_are_products_of_homogeneous_matrices():
    def matrix(pose):
        c, s = np.cos(pose[2]), np.sin(pose[2])
        return np.array([[c, -s, pose[0]], [s, c, pose[1]], [0, 0, 1]])

    actions, start = np.random.default_rng(0).normal(0, 0.7, (2, 5, 3)), np.array([1.0, -2.0, 0.5])
    found = planar_path(actions, start)
    assert found.shape == (2, 6, 3)
    for told, poses in zip(actions, found, strict=True):
        expected = matrix(start)
        for action, pose in zip(told, poses[1:], strict=True):
            expected = expected @ matrix(action)
            np.testing.assert_allclose(matrix(pose), expected, atol=1e-12)
