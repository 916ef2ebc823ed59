"""Pictures of a MuJoCo model by ray casting: RGB, instance ids and depth, without OpenGL."""

from functools import lru_cache
from typing import NamedTuple

import mujoco
import numpy as np

from egowm.checks import check_between

MOST_PIXELS = 8192  # along a side of a picture
FLOOR = 0
_FAR = 100.0  # metres, where rays end
_LIGHT = np.array([0.36, 0.27, 0.89])


class View(NamedTuple):
    """One picture of the camera."""

    rgb: np.ndarray  # (H, W, 3) uint8
    ids: np.ndarray  # (H, W) uint8: 0 floor, 1 ceiling, 2.. structures
    depth: np.ndarray  # (H, W) float32, metres along the ray


class Hits(NamedTuple):
    """The first surface along each of P rays."""

    geoms: np.ndarray  # (P,) numbers of geoms; a ray that meets nothing has the floor's
    distance: np.ndarray  # (P,) metres
    normals: np.ndarray  # (P, 3) unit, in the world


@lru_cache(maxsize=16)
def ray_fan(height: int, width: int, fov: float) -> np.ndarray:
    """Unit rays (H*W, 3) of a pinhole camera looking along x; `fov` is horizontal, radians."""
    half = np.tan(fov / 2)
    u = half * (1 - (2 * np.arange(width) + 1) / width)
    v = half * height / width * (1 - (2 * np.arange(height) + 1) / height)
    vv, uu = np.meshgrid(v, u, indexing="ij")
    rays = np.stack([np.ones_like(uu), uu, vv], -1).reshape(-1, 3)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def check_size(height: int, width: int) -> None:
    """Refuse a picture of nothing, and one that fills the memory."""
    check_between("height", height, 1, MOST_PIXELS)
    check_between("width", width, 1, MOST_PIXELS)


def cast(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    origin: np.ndarray,
    rays: np.ndarray,
    without: int = -1,
    groups: np.ndarray | None = None,
) -> Hits:
    """What rays meet first; one that meets nothing meets the floor at 100 metres.

    Args:
        model: The world; geom 0 is its floor.
        data: Where everything is.
        origin: (3,) in metres, where all rays begin.
        rays: (P, 3) unit vectors.
        without: A body that rays pass through, such as the head around a camera; -1 for none.
        groups: (6,) uint8, which of MuJoCo's groups of geoms are met; None for all.
    """
    count = len(rays)
    geoms, distance, normals = np.zeros(count, np.int32), np.zeros(count), np.zeros(3 * count)
    vectors = np.ascontiguousarray(rays, np.float64).reshape(-1)
    seen = (geoms, distance, normals)  # filled
    mujoco.mj_multiRay(model, data, origin, vectors, groups, True, without, *seen, count, _FAR)
    missed = geoms < 0
    geoms[missed], distance[missed] = FLOOR, _FAR
    return Hits(geoms, distance, normals.reshape(-1, 3))


def lit(colours: np.ndarray, normals: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """RGB (P, 3) uint8 of surfaces under one distant light.

    Args:
        colours: (P, 3) in [0, 1].
        normals: (P, 3) unit, in the world.
        texture: (P,) factor around 1.
    """
    light = (0.55 + 0.45 * np.abs(normals @ _LIGHT)) * texture
    return (np.clip(colours * light[:, None], 0, 1) * 255 + 0.5).astype(np.uint8)
