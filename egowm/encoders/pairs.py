"""Pairs of frames of a clip: near in time, of the same points, any two, or one frame twice."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from egowm.checks import check_alike, check_between, check_shape, checked

KINDS = ("temporal", "spatial", "random", "augmented")
Generator = torch.Generator | None


class Geometry(Protocol):
    """Of F frames, depth (F, h, w) in metres along the optical axis, pose (F, 4, 4) from camera to
    world, and intrinsics (3, 3) in pixels of the depth."""

    @property
    def depth(self) -> np.ndarray: ...

    @property
    def pose(self) -> np.ndarray: ...

    @property
    def intrinsics(self) -> np.ndarray: ...


@checked
def jaccard(
    depth_a: np.ndarray,
    pose_a: np.ndarray,
    depth_b: np.ndarray,
    pose_b: np.ndarray,
    intrinsics: np.ndarray,
    tolerance: float = 0.1,
) -> float:
    """Share of the 3-D points seen in either of two frames that are seen in both, 0 to 1.

    A point of one frame is seen in the other where it falls into it and lies as deep as what is
    seen there. Points in both are counted from either side, and the mean is taken.

    Args:
        depth_a: (h, w) in metres along the optical axis; what is not above 0 is not known.
        pose_a: (4, 4), from the camera (x right, y down, z forward) to the world, in metres.
        depth_b: As depth_a, of the other frame.
        pose_b: As pose_a, of the other frame.
        intrinsics: (3, 3), in pixels of the depth; the centre of the first pixel is at (0, 0).
        tolerance: Largest difference of depths, as a share of the depth.

    >>> wall, here, there = np.full((4, 4), 2.0), np.eye(4), np.eye(4)
    >>> there[0, 3] = 1.0  # a metre to the right: half the frame, 2 m before a wall
    >>> camera = np.array([[4.0, 0.0, 1.5], [0.0, 4.0, 1.5], [0.0, 0.0, 1.0]])
    >>> round(jaccard(wall, here, wall, there, camera), 3)
    0.333
    """
    check_shape("depth_a", depth_a, "h w")
    check_alike("depth_b", depth_b, "depth_a", depth_a)
    pose_a, pose_b = _invertible("pose_a", pose_a, 4), _invertible("pose_b", pose_b, 4)
    intrinsics = _invertible("intrinsics", intrinsics, 3)
    check_between("tolerance", tolerance, 0.0, 1.0)
    there = np.linalg.inv(pose_b) @ pose_a
    (of_a, found), (of_b, again) = (
        _seen(depth_a, depth_b, there, intrinsics, tolerance),
        _seen(depth_b, depth_a, np.linalg.inv(there), intrinsics, tolerance),
    )
    both = (found + again) / 2
    either = of_a + of_b - both
    return float(min(1.0, both / either)) if either else 0.0


def _invertible(name: str, matrix: np.ndarray, size: int) -> np.ndarray:
    check_shape(name, matrix, f"{size} {size}")
    found = matrix.astype(np.float64)
    if not np.isfinite(found).all() or np.linalg.matrix_rank(found) < size:
        raise ValueError(
            f"Expected {name} to be a finite matrix that has an inverse, got {found.tolist()}."
        )
    return found


def _seen(
    depth: np.ndarray, other: np.ndarray, move: np.ndarray, camera: np.ndarray, tolerance: float
) -> tuple[int, int]:
    """How many points a frame has, and how many of them another sees."""
    rows, columns = np.nonzero(np.isfinite(depth) & (depth > 0))
    pixels = np.stack([columns, rows, np.ones_like(rows)])
    points = np.linalg.inv(camera) @ pixels * depth[rows, columns]
    moved = camera @ (move[:3, :3] @ points + move[:3, 3:])
    ahead = moved[:, moved[2] > 1e-6]
    column, row = np.rint(ahead[:2] / ahead[2]).clip(-1, max(depth.shape)).astype(int)
    inside = (row >= 0) & (row < depth.shape[0]) & (column >= 0) & (column < depth.shape[1])
    far, held = ahead[2][inside], other[row[inside], column[inside]]
    return len(rows), int(((held > 0) & (np.abs(held - far) <= tolerance * far)).sum())


def kinds_of(pairs: str) -> tuple[str, ...]:
    """The kinds that "temporal+spatial" names."""
    kinds = tuple(pairs.split("+"))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(
            f"Expected pairs of {', '.join(KINDS)}, or several of them joined by +, got "
            f"{unknown[0]!r}."
        )
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"Expected each kind of pairs once, got {pairs!r}.")
    return kinds


def draw(
    kinds: Sequence[str],
    clips: int,
    frames: int,
    gap: int,
    overlap: tuple[float, float],
    geometry: Callable[[int], Geometry] | None = None,
    generator: Generator = None,
) -> Tensor:
    """Clip, source and target of `frames // 2` pairs of each clip, (P, 3) whole numbers.

    Args:
        kinds: Of which each pair has one, drawn evenly.
        clips: Clips of the batch.
        frames: Frames of a clip, at least 2.
        gap: Most frames between the two of a temporal pair.
        overlap: Least and largest Jaccard index of a spatial pair. Where no frame of the clip is in
            this range with the source, the nearest to it is taken.
        geometry: Of a clip by its number; spatial pairs need it.
        generator: On the CPU; None takes torch's own.
    """
    rows = []
    for clip in range(clips):
        for _ in range(frames // 2):
            kind = kinds[_below(len(kinds), generator)]
            source = _below(frames, generator)
            if kind == "augmented":
                target = source
            elif kind == "spatial":
                assert geometry is not None
                target = _overlapping(geometry(clip), source, overlap, generator)
            else:
                most = gap if kind == "temporal" else frames
                near = [k for k in range(frames) if 0 < abs(k - source) <= most]
                target = near[_below(len(near), generator)]
            rows.append((clip, source, target))
    return torch.tensor(rows)


def _overlapping(
    seen: Geometry, source: int, overlap: tuple[float, float], generator: Generator
) -> int:
    """Another frame that shares as many points with the source as is wanted."""
    best, nearest = source, float("inf")
    for target in torch.randperm(len(seen.depth), generator=generator).tolist():
        if target == source:
            continue
        one, other = ((seen.depth[k], seen.pose[k]) for k in (source, target))
        found = jaccard(*one, *other, seen.intrinsics)
        miss = max(overlap[0] - found, found - overlap[1], 0.0)
        if miss < nearest:
            best, nearest = target, miss
        if not miss:
            break
    return best


def _below(count: int, generator: Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
