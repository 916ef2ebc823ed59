"""A humanoid's hall as a scene in which the pose of its head camera is looked for."""

import numpy as np

from egowm.evaluation.image_alignment import Eye
from egowm.worlds.humanoid import Humanoid
from egowm.worlds.humanoid_room import FIRST_OBJECT, NUM_OBJECTS

# Where the search begins, relative to the pose before: metres ahead, degrees down and to the left.
AHEAD, NODS, TURNS = (0.0, 0.1), (-8.0, 0.0, 8.0), (-10.0, 0.0, 10.0)
_FIRST_BODY = 2  # ids from here to the last object's are of what moves
_DARK = 25.0  # grey levels, below which a hue is not told


class HallScene:
    """The hall alone, to a camera that moves and turns in every way.

    What stands before the camera is told by its hue and left out of the frame: hands, arms, body
    and the things on the table.

    Args:
        robot: In the hall; where it stands does not matter.
    """

    axes = tuple(range(6))
    starts = np.array(
        [
            [ahead, 0, 0, 0, np.radians(nod), np.radians(turn)]
            for ahead in AHEAD
            for nod in NODS
            for turn in TURNS
        ]
    )

    def __init__(self, robot: Humanoid) -> None:
        self.robot = robot
        colours = robot.room.colours.astype(np.float32)
        self.hues = colours / np.linalg.norm(colours, axis=1, keepdims=True)

    def draw(self, eye: Eye, size: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Scene`."""
        view = self.robot.hall_view(eye.place, eye.turn, size, size)
        return view.rgb, view.depth

    def shown(self, frame: np.ndarray) -> np.ndarray:
        """See `Scene`."""
        likest = np.argmax(frame.astype(np.float32) @ self.hues.T, -1)
        moves = (likest >= _FIRST_BODY) & (likest < FIRST_OBJECT + NUM_OBJECTS)
        return ~(moves & (frame.max(-1) > _DARK))
