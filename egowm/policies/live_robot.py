"""The robot of one embedded room as if it were real: it drives on and on, and nothing resets it."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from egowm.checks import MOST_SEED, check_between, check_shape, checked
from egowm.data.normalisers import WHEELED
from egowm.evaluation.navigation import MAX_FORWARD, Pose, arrived, off, simulate
from egowm.worlds.drawing import check_size
from egowm.worlds.motion import ROBOT_HEIGHT, clearances, find_start
from egowm.worlds.rooms import Camera, Room

BONUS, SCALE = 1.0, 0.5  # of being there; of what is left to go
TURN = 0.3  # metres that a radian of the heading counts as, at the goal
NEARBY = 1.0  # metres over which the heading begins to count
FREE = 0.6  # metres around a place where a robot is set down
_TRIES, _AROUND = 10_000, np.linspace(0, 2 * np.pi, 8, endpoint=False)


class Told(NamedTuple):
    """What the robot is told after an action.

    Args:
        reward: Less the more is left to go, and 1 more where it has arrived.
        goes_on: 0 where it has arrived, else 1.

    >>> Told(reward=-0.5, goes_on=1.0).reward
    -0.5
    """

    reward: float
    goes_on: float


class LiveRobot:
    """A robot that is to drive to a fixed pose of its room; walls, things and a fence stop it.

    The reward of an action is `-(metres + 0.3 radians exp(-metres)) / 2` of the metres to the goal
    and the radians between the headings after it, and 1 more where the robot has arrived, within
    0.5 m and 20 degrees, which ends the task. So what is left to go costs at every step. The sum is
    a place's own: a model sees it in a frame, while the progress of a step is a difference that is
    much harder to learn from small frames.

    Args:
        seed: Of the room.
        size: H and W of its frames, pixels.
        fence: Metres from the goal that it cannot leave.
        goal: Pose (x, y, yaw), metres and radians; None draws a free one that looks into the room.
        turn: Degrees that it turns in a step, at most; above 0. Robots of recordings turn 6.

    Raises:
        ValueError: No place within the fence is free.

    >>> robot = LiveRobot(seed=7, size=(32, 32), goal=(0.0, 0.0, 0.0))
    >>> robot.pose = (-2.0, 0.0, 0.0)
    >>> told = robot.move(np.array([0.25, 0.0, 0.0]))
    >>> round(told.reward, 3), told.goes_on, robot.look().shape
    (-0.875, 1.0, (32, 32, 3))
    """

    @checked
    def __init__(
        self,
        seed: int,
        size: tuple[int, int] = (32, 32),
        fence: float = 3.0,
        goal: Pose | None = None,
        turn: float = 15.0,
    ) -> None:
        check_between("seed", seed, 0, MOST_SEED)
        check_size(*size)
        check_between("fence", fence, 0.5, 100.0)
        check_between("turn", turn, 0.1, 90.0)
        most = float(np.radians(turn))
        self.spec = replace(WHEELED, low=(0.0, 0.0, -most), high=(MAX_FORWARD, 0.0, most))
        self.room, self.size, self.fence, self.gain = Room(seed), size, fence, 1.0
        self.goal = (
            find_start(self.room, np.random.default_rng([seed, 13])) if goal is None else goal
        )
        if not np.isfinite(self.goal).all():
            raise ValueError(f"Expected a goal of finite numbers, got {self.goal}.")
        self.pose, self.blocked = self.place(np.random.default_rng([seed, 14])), False

    def place(self, rng: np.random.Generator) -> Pose:
        """A free pose within the fence, from which the robot has not arrived.

        Args:
            rng: Draws it.
        """
        for _ in range(_TRIES):
            metres, way = self.fence * np.sqrt(rng.uniform()), rng.uniform(-np.pi, np.pi)
            x, y = self.goal[0] + metres * np.cos(way), self.goal[1] + metres * np.sin(way)
            pose = (float(x), float(y), float(rng.uniform(-np.pi, np.pi)))
            if self._is_free(pose) and not arrived(pose, self.goal):
                return pose
        raise ValueError(f"No free place within {self.fence:g} m of the goal {self.goal}.")

    def _is_free(self, pose: Pose) -> bool:
        a, b = self.room.plan.half_size
        inside = abs(pose[0]) < a - FREE and abs(pose[1]) < b - FREE
        return bool(inside and clearances(self.room, *pose, _AROUND).min() > FREE)

    def look(self, pose: Pose | None = None) -> np.ndarray:
        """A frame (H, W, 3) uint8 from its place, under the light that there is (`gain`).

        Args:
            pose: Another place, (x, y, yaw).
        """
        x, y, yaw = self.pose if pose is None else pose
        seen = self.room.render(Camera(x, y, ROBOT_HEIGHT, yaw), *self.size).rgb
        return seen if self.gain == 1 else np.clip(seen * self.gain, 0, 255).astype(np.uint8)

    def move(self, action: np.ndarray) -> Told:
        """Drive, as far as room and fence allow.

        Args:
            action: (3,), metres ahead and to the left, radians to the left.
        """
        check_shape("action", action, "3")
        before, after = self.pose, simulate(self.room, self.pose, [action])
        gone, back = off(after, self.goal)[0], off(before, self.goal)[0]
        if gone > self.fence and gone > back:
            after = (before[0], before[1], after[2])
        self.pose = after
        self.blocked = bool(action[0] > 0 and after[:2] == before[:2])
        is_there = arrived(after, self.goal)
        return Told(BONUS * is_there - SCALE * self._left(after), 1.0 - is_there)

    def _left(self, pose: Pose) -> float:
        metres, radians = off(pose, self.goal)
        return metres + TURN * radians * float(np.exp(-metres / NEARBY))
