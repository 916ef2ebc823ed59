"""Rigid motions in space, exactly: unit quaternions (w, x, y, z), rotation vectors and matrices.

A rotation vector (radians) points along the axis and is as long as the angle. Everything is
float64 and works on the last axes; no angle is special, neither 0 nor pi.
"""

import numpy as np


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
