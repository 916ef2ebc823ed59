"""What a camera's place and the distances before it say: depth, pose and intrinsics of frames."""

from typing import NamedTuple

import numpy as np

from egowm.checks import check_between, check_shape, checked
from egowm.worlds.drawing import ray_fan
from egowm.worlds.rooms import Camera, Room, rotation

# The camera's axes in OpenCV (right, down, forward), in those of the world at yaw 0.
_AXES = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_FOV = np.pi / 2  # of every camera of a robot room


class Geometry(NamedTuple):
    """Where F frames were seen from, and how far what they show is away.

    depth: (F, h, w) in metres along the optical axis. pose: (F, 4, 4), from the camera (x right, y
    down, z forward, as in OpenCV) to the world, in metres. intrinsics: (3, 3), in pixels of the
    depth map; the centre of the first pixel is at (0, 0).
    """

    depth: np.ndarray
    pose: np.ndarray
    intrinsics: np.ndarray


@checked
def look(seed: int, cameras: np.ndarray, side: int = 32) -> Geometry:
    """Depth, pose and intrinsics of frames of a robot room.

    Args:
        seed: Of the room.
        cameras: (F, 6): x, y, z in metres, yaw, pitch and roll in radians.
        side: Rays along a side of each depth map, 2 to 1024.
    """
    check_shape("cameras", cameras, "F 6")
    check_between("side", side, 2, 1024)
    room, fan = Room(seed), ray_fan(side, side, _FOV)
    depths, poses = [], []
    for values in cameras.astype(float):
        camera = Camera(*values.tolist())
        turn = rotation(camera)
        hits = room.cast(values[:3], fan @ turn.T)
        depths.append((hits.distance * fan[:, 0]).reshape(side, side))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn @ _AXES, values[:3]
        poses.append(pose)
    focal, centre = side / 2 / np.tan(_FOV / 2), (side - 1) / 2
    intrinsics = np.array([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]])
    return Geometry(np.stack(depths).astype(np.float32), np.stack(poses), intrinsics)
