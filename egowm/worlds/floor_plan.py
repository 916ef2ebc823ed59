"""A room seen from above: the outline of every wall and thing on the floor."""

import mujoco
import numpy as np

from egowm.checks import checked
from egowm.worlds.rooms import FIRST_STRUCTURE, Room

_BOX, _ELLIPSOID = int(mujoco.mjtGeom.mjGEOM_BOX), int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)
_CORNERS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
_ROUND = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)


@checked
def floor_plan(room: Room) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every structure the corners (n, 2) of its outline in metres, and its colour (3,), 0 to 1.

    >>> corners, colour = floor_plan(Room(seed=20_000_000))[0]  # a wall, 0.2 m thick
    >>> corners.shape, round(float(np.ptp(corners[:, 0])), 1)
    ((4, 2), 0.2)
    """
    found = []
    for geom in range(FIRST_STRUCTURE, room.model.ngeom):
        size, kind = room.model.geom_size[geom], int(room.model.geom_type[geom])
        shape = _CORNERS if kind == _BOX else _ROUND
        long = kind in (_BOX, _ELLIPSOID)
        half = size[:2] if long else size[[0, 0]]
        turn = room.data.geom_xmat[geom].reshape(3, 3)[:2, :2]
        found.append((room.data.geom_xpos[geom, :2] + shape * half @ turn.T, room.colours[geom]))
    return found
