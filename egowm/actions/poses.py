"""Rigid motions, exactly: paths in the plane; in space unit quaternions (w, x, y, z), rotation
vectors and matrices.

A rotation vector (radians) points along the axis and is as long as the angle. Everything is
float64 and works on the last axes; no angle is special, neither 0 nor pi.
"""

import numpy as np
from numpy.typing import ArrayLike


def planar_path(actions: np.ndarray, start: ArrayLike = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Poses (..., T+1, 3) = (x, y, yaw) to which actions (..., T, 3) lead from the first one.

    Each action (dx forward, dy left, dyaw in radians) is the next pose in the frame of the one
    before. The yaw is not wrapped.
    """
    steps = np.asarray(actions, np.float64)
    first = np.broadcast_to(np.asarray(start, np.float64), (*steps.shape[:-2], 1, 3))
    yaw = np.concatenate([first[..., 2], steps[..., 2]], -1).cumsum(-1)
    c, s = np.cos(yaw[..., :-1]), np.sin(yaw[..., :-1])
    x, y = steps[..., 0], steps[..., 1]
    moves = np.stack([c * x - s * y, s * x + c * y], -1)
    places = np.concatenate([first[..., :2], moves], -2).cumsum(-2)
    return np.concatenate([places, yaw[..., None]], -1)


def quaternion(vector: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), radians, to unit quaternions (..., 4)."""
    vector = np.asarray(vector, np.float64)
    half = np.linalg.norm(vector, axis=-1, keepdims=True) / 2
    return np.concatenate([np.cos(half), vector / 2 * np.sinc(half / np.pi)], -1)


def rotation_vector(unit: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) to the shortest rotation vectors (..., 3), radians."""
    unit = np.where(unit[..., :1] < 0, -unit, unit)  # q and -q are the same rotation
    sine = np.linalg.norm(unit[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, unit[..., :1])
    return unit[..., 1:] * np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 0)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rotation `right` and then, in the same fixed frame, `left`; both (..., 4)."""
    a, u, b, v = left[..., :1], left[..., 1:], right[..., :1], right[..., 1:]
    real = a * b - (u * v).sum(-1, keepdims=True)
    return np.concatenate([real, a * v + b * u + np.cross(u, v)], -1)


def rotated(unit: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) turned by unit quaternions (..., 4)."""
    axis = unit[..., 1:]
    turned = 2 * np.cross(axis, points)
    return points + unit[..., :1] * turned + np.cross(axis, turned)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), radians, to matrices (..., 3, 3) that turn column vectors."""
    unit = quaternion(vector)[..., None, :]
    return rotated(unit, np.eye(3)).swapaxes(-1, -2)
