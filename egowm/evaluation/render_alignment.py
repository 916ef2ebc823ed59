"""The camera pose of every frame of a video in its room, by alignment against renderings."""

from typing import NamedTuple

import numpy as np

from egowm.checks import check_shape, checked
from egowm.evaluation.image_alignment import Eye, align_frames
from egowm.worlds.motion import ROBOT_HEIGHT
from egowm.worlds.rooms import Camera, Room

# Where the search begins, relative to the pose before: metres ahead, and degrees of turn.
AHEAD, TURNS = (0.0, 0.15, 0.3), (-6.0, -2.0, 2.0, 6.0)


class Alignment(NamedTuple):
    """Camera poses of frames.

    poses: (T, 3) x, y, yaw in metres and radians, NaN where not aligned. aligned: (T,) bool.
    correlation: (T,) of each frame with its rendering, both low-passed.
    """

    poses: np.ndarray
    aligned: np.ndarray
    correlation: np.ndarray


class RoomScene:
    """A room to a camera at the robot's height, which moves in the plane."""

    axes: tuple[int, ...] = (0, 1, 5)
    starts = np.array([[ahead, 0, 0, 0, 0, np.radians(turn)] for ahead in AHEAD for turn in TURNS])

    def __init__(self, room: Room) -> None:
        self.room = room

    def draw(self, eye: Eye, size: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Scene`."""
        x, y, yaw = _pose(eye)
        view = self.room.render(Camera(x, y, ROBOT_HEIGHT, yaw), size, size)
        return view.rgb, view.depth

    def shown(self, frame: np.ndarray) -> np.ndarray:
        """See `Scene`: nothing stands before the camera."""
        return np.ones(frame.shape[:2], bool)


@checked
def align(frames: np.ndarray, room: Room, start: np.ndarray) -> Alignment:
    """The pose of every frame of a video in its room.

    Args:
        frames: (T, H, W, 3) uint8, of a camera at the robot's height that sees 90 degrees across.
        room: the room that they show, or should.
        start: (3,) x, y, yaw where the video begins; metres, radians.

    Raises:
        ValueError: frames or a start of another shape.

    >>> from egowm.worlds.recording import record, seed_of
    >>> seen = record(seed_of("test", 0), num_frames=3)
    >>> start, end = seen.cameras[[0, 2]][:, [0, 1, 3]]
    >>> found = align(seen.frames[1:], Room(seed_of("test", 0)), start)
    >>> bool(np.abs(found.poses[-1] - end).max() < 0.02)
    True
    """
    check_shape("frames", frames, "T H W 3")
    check_shape("start", start, "3")
    fits = list(align_frames(frames, RoomScene(room), standing(*map(float, start))))
    aligned = np.array([fit.good for fit in fits])
    poses = np.where(aligned[:, None], [_pose(fit.eye) for fit in fits], np.nan)
    return Alignment(poses, aligned, np.array([fit.correlation for fit in fits]))


def standing(x: float, y: float, yaw: float) -> Eye:
    """The robot's camera at a pose in metres and radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    return Eye(np.array([x, y, ROBOT_HEIGHT]), np.array([[c, -s, 0.0], [s, c, 0.0], [0, 0, 1]]))


def _pose(eye: Eye) -> tuple[float, float, float]:
    """x, y, yaw; metres, radians."""
    return (
        float(eye.place[0]),
        float(eye.place[1]),
        float(np.arctan2(eye.turn[1, 0], eye.turn[0, 0])),
    )
