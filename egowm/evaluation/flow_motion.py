"""Action following without truth: the camera's motion in any video, from dense optical flow.

With depth, or a ground plane under a camera of known height, the whole motion is fitted to the
flow. Without either only the rotation can be: each pixel's depth is eliminated by the epipolar
constraint, for the direction of translation that leaves the least (as Heeger and Jepson 1992). The
length of a translation is then unknown and reported as NaN.
"""

from typing import NamedTuple

import numpy as np

from egowm.actions import ActionSpec
from egowm.actions.poses import product, quaternion, rotated, rotation_matrix, rotation_vector
from egowm.checks import check_shape, checked
from egowm.evaluation.action_following import ActionFollowing, check_actions
from egowm.scs.trackers.flow import dense_flow

MOST_POINTS = 2000  # pixels of a frame that are used
FEW_POINTS = 500  # of these, where many directions are tried
MIN_POINTS = 40  # below which a step is not measured
MIN_SLOPE = 4.0  # grey levels a pixel: where a picture is flatter, flow is not seen
NARROW = np.radians((-24, -16, -8, 0, 8, 16, 24))  # where a wheeled robot may go
_ROUNDS = 10
_PIXEL = 0.3  # of error that is always allowed, pixels


class Pinhole(NamedTuple):
    """A camera: focal lengths and centre in pixels, the centre of the first pixel being (0, 0).

    >>> Pinhole.of_view(64, 64, 90.0).fx
    32.0
    """

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def of_view(cls, height: int, width: int, fov_degrees: float) -> "Pinhole":
        """Of square pixels, from the horizontal field of view."""
        focal = width / 2 / float(np.tan(np.radians(fov_degrees) / 2))
        return cls(focal, focal, (width - 1) / 2, (height - 1) / 2)


class Ground(NamedTuple):
    """A level floor: the camera's height above it in metres, and its pitch in radians (> 0: up)."""

    height: float
    pitch: float = 0.0


@checked
def follow_by_flow(
    frames: np.ndarray,
    actions: np.ndarray,
    spec: ActionSpec,
    camera: Pinhole,
    depth: np.ndarray | None = None,
    ground: Ground | None = None,
) -> ActionFollowing:
    """Measure a video by its optical flow, in what the given geometry lets one see.

    Args:
        frames: (T+1, H, W, 3) uint8, the context frame first.
        actions: (T, A), physical. Kind "se2": dx ahead, dy left, dyaw left of a camera that looks
            ahead. Kind "se3": steps of the camera itself, x right, y down, z ahead.
        spec: what the actions mean.
        camera: of these frames.
        depth: (T+1, H, W) metres along the optical axis, 0 or NaN where unknown.
        ground: used where there is no depth; for kind "se2".

    Raises:
        ValueError: actions of another kind or length; depth of another shape; a ground for "se3".
    """
    check_actions(frames, actions, spec, ("se2", "se3"))
    if depth is not None:
        check_shape("depth", depth, "T H W", T=len(frames), H=frames.shape[1], W=frames.shape[2])
    elif ground is not None and spec.kind == "se3":
        raise ValueError("A ground plane serves wheeled robots (kind se2); give depth for se3.")
    told = np.asarray(actions, float)
    basis = _basis(spec.kind, ground.pitch if ground else 0.0)
    seen = np.full(told.shape, np.nan)
    for k in range(len(told)):
        points = _points(frames[k], frames[k + 1], camera)
        if depth is not None:
            far = depth[k][points.row, points.column]
        elif ground is not None:
            far = _to_the_ground(points.ray, ground)
        else:
            seen[k] = _rotation(points, basis, camera)
            continue
        seen[k] = _motion(points, far, basis, camera)
    measured = np.full(spec.width, True)
    if depth is None and ground is None:
        measured = np.abs(basis[:3]).sum(0) == 0
    aligned = ~np.isnan(seen[:, measured]).any(1)
    drift = _drift(np.where(measured, seen, 0) @ basis.T, told @ basis.T)
    drift[:, 0] = np.where(measured.all(), drift[:, 0], np.nan)
    return ActionFollowing(spec, told, seen, aligned, drift, measured)


class _Points(NamedTuple):
    """Pixels that are seen in both frames: row and column (P,), ray and later ray (P, 3)."""

    row: np.ndarray
    column: np.ndarray
    ray: np.ndarray
    later: np.ndarray

    def kept(self, which: np.ndarray) -> "_Points":
        return _Points(*(part[which] for part in self))


def _points(before: np.ndarray, after: np.ndarray, camera: Pinhole) -> _Points:
    """Where the picture has a slope, and the flow there and back agree."""
    import cv2

    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after))
    flow = dense_flow()
    there, back = flow.calc(first, second, None), flow.calc(second, first, None)
    rows, columns = np.indices(first.shape, dtype=np.float32)
    column, row = columns + there[..., 0], rows + there[..., 1]
    returned = cv2.remap(back, column, row, cv2.INTER_LINEAR)
    smooth = cv2.GaussianBlur(first.astype(np.float32), (0, 0), 1.0)
    slope = np.hypot(*np.gradient(smooth))
    height, width = first.shape
    inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
    apart = np.linalg.norm(there + returned, axis=-1)
    agrees = apart < 0.5 + 0.05 * np.linalg.norm(there, axis=-1)
    chosen = np.flatnonzero(inside & agrees & (slope > MIN_SLOPE))
    chosen = chosen[:: max(1, len(chosen) // MOST_POINTS)]
    where = np.stack([columns, rows], -1).reshape(-1, 2)[chosen]
    later = np.stack([column, row], -1).reshape(-1, 2)[chosen]
    r, c = where[:, 1].astype(int), where[:, 0].astype(int)
    return _Points(r, c, _rays(where, camera), _rays(later, camera))


def _rays(pixels: np.ndarray, camera: Pinhole) -> np.ndarray:
    """(P, 3) with depth 1 of pixels (P, 2) column, row."""
    x, y = (pixels[:, 0] - camera.cx) / camera.fx, (pixels[:, 1] - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], 1).astype(float)


def _basis(kind: str, pitch: float) -> np.ndarray:
    """(6, A): translation and rotation vector of the camera (x right, y down) for each action."""
    if kind == "se3":
        return np.eye(6)
    ahead = np.array([0.0, np.sin(pitch), np.cos(pitch)])
    up = np.array([0.0, -np.cos(pitch), np.sin(pitch)])
    basis = np.zeros((6, 3))
    basis[:3, 0], basis[:3, 1], basis[3:, 2] = ahead, (-1.0, 0.0, 0.0), up
    return basis


def _to_the_ground(rays: np.ndarray, ground: Ground) -> np.ndarray:
    """Depth (P,) of the floor, NaN above the horizon."""
    down = rays[:, 1] * np.cos(ground.pitch) - rays[:, 2] * np.sin(ground.pitch)
    return np.where(down > 0.02, ground.height / np.maximum(down, 0.02), np.nan)


def _motion(points: _Points, far: np.ndarray, basis: np.ndarray, camera: Pinhole) -> np.ndarray:
    """The action (A,) that moves points of known depth (P,) as the flow does; NaN if too few."""
    known = np.isfinite(far) & (far > 0)
    points, far = points.kept(known), far[known]
    action = np.zeros(basis.shape[1])
    if len(far) < MIN_POINTS:
        return np.full_like(action, np.nan)
    places = points.ray * far[:, None]
    for _ in range(_ROUNDS):
        motion = basis @ action
        there = (places - motion[:3]) @ rotation_matrix(motion[3:])
        depth = np.maximum(there[:, 2:], 0.05)
        residual = (points.later - there / depth)[:, :2]
        moves = np.concatenate([np.broadcast_to(-np.eye(3), (len(far), 3, 3)), _turning(there)], 2)
        slopes = _projected(moves, there / depth) / depth[..., None] @ basis
        action = action + _solved(slopes, residual, camera)[0]
    return action


def _rotation(points: _Points, basis: np.ndarray, camera: Pinhole) -> np.ndarray:
    """The same without depth: NaN in every dimension that translates."""
    turns = np.abs(basis[:3]).sum(0) == 0
    action = np.full(basis.shape[1], np.nan)
    if len(points.ray) < MIN_POINTS:
        return action
    points = points.kept(np.arange(0, len(points.ray), max(1, len(points.ray) // FEW_POINTS)))
    fits = [_turn(points, way, basis[3:, turns], camera) for way in _ways(basis[:3, ~turns])]
    action[turns] = min(fits, key=lambda fit: fit[1])[0]
    return action


def _ways(translations: np.ndarray) -> np.ndarray:
    """Directions of translation (N, 3) to try: ahead of wheels, or half a sphere."""
    if translations.shape[1] == 2:
        return np.stack([np.cos(NARROW), np.sin(NARROW)], 1) @ translations.T
    count = 40
    height = (np.arange(count) + 0.5) / count
    turn, flat = np.pi * (1 + 5**0.5) * np.arange(count), np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), height], 1)


def _turn(
    points: _Points, way: np.ndarray, axes: np.ndarray, camera: Pinhole
) -> tuple[np.ndarray, float]:
    """Rotation along `axes` (3, R) of a camera that moves a `way`, and what it leaves unexplained:
    the flow across the lines along which translation moves pixels."""
    along = points.ray[:, :2] * way[2] - way[:2]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    turn, cost = np.zeros(axes.shape[1]), np.inf
    for _ in range(_ROUNDS // 2):
        turned = points.later @ rotation_matrix(axes @ turn).T
        turned = turned / turned[:, 2:]
        residual = ((turned - points.ray)[:, :2] * across).sum(1, keepdims=True)
        slopes = _projected(-_turning(turned), turned) @ axes
        slopes = (slopes * across[..., None]).sum(1, keepdims=True)
        change, cost = _solved(slopes, residual, camera)
        turn = turn - change
    return turn, cost


def _turning(places: np.ndarray) -> np.ndarray:
    """(P, 3, 3): how places move in the frame of a camera, with its rotation vector."""
    x, y, z = places.T
    zero = np.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return np.stack(rows, 1).reshape(-1, 3, 3)


def _projected(moves: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Moves (P, 3, n) of places to those of their pictures (P, 2, n), at depth 1."""
    projected: np.ndarray = moves[:, :2] - rays[:, :2, None] * moves[:, 2:]
    return projected


def _solved(slopes: np.ndarray, residual: np.ndarray, camera: Pinhole) -> tuple[np.ndarray, float]:
    """One robust step (A,) from slopes (P, n, A) and residuals (P, n), and its cost."""
    square = np.square(residual).sum(1)
    scale = (_PIXEL / camera.fx) ** 2 + 2 * float(np.median(square))
    weight = (1 / np.square(1 + square / scale))[:, None, None]
    width = slopes.shape[-1]
    weighted = (slopes * weight).reshape(-1, width).T
    change = np.linalg.pinv(weighted @ slopes.reshape(-1, width)) @ weighted @ residual.reshape(-1)
    return change, float((square / ((_PIXEL / camera.fx) ** 2 + square)).mean())


def _drift(seen: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Metres and degrees (T, 2) between where two sequences of steps (T, 6) lead."""
    drift = np.full((len(seen), 2), np.nan)
    where, turn = np.zeros((2, 3)), quaternion(np.zeros((2, 3)))
    for k, both in enumerate(zip(seen, told, strict=True)):
        steps = np.array(both)
        where = where + rotated(turn, steps[:, :3])
        turn = product(turn, quaternion(steps[:, 3:]))
        back = turn[0] * np.array([1.0, -1.0, -1.0, -1.0])
        apart = rotation_vector(product(back, turn[1]))
        drift[k] = np.linalg.norm(where[0] - where[1]), np.degrees(np.linalg.norm(apart))
    return drift
