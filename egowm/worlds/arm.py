"""How the embedded humanoid moves a hand to a place: inverse kinematics, and skills made of it."""

from collections.abc import Iterator
from typing import NamedTuple

import mujoco
import numpy as np

from egowm.worlds.humanoid import JOINTS, RATE_HZ, SIDES, Humanoid
from egowm.worlds.humanoid_room import NUM_OBJECTS

_SPEED = 0.35  # m/s of a hand
_DAMPING, _TURNING = 0.03, 0.25  # of the inverse, and what a radian weighs beside a metre
_POINTING = np.array(
    [0.62, 0.0, -0.78]
)  # where fingers point, in the robot's frame: ahead and down
_REACH = ((0.32, -0.42), (0.6, 0.42))  # metres ahead and left of the wheels
MISSES = 0.25  # share of the tries that are off
_CLOSURE = 21  # the left hand's among the 25 states; the right one's comes next


class Goal(NamedTuple):
    """Where a hand goes: (3,) metres in the world, how far it is closed then, and for how long it
    is tried, in thirtieths of a second."""

    place: np.ndarray
    closed: float
    steps: int


class Task(NamedTuple):
    """One skill of one hand."""

    side: int  # 0 left, 1 right
    name: str
    goals: list[Goal]


class Arm:
    """Seven joint targets that bring a hand towards its goal at 0.35 m/s, fingers ahead and down.

    Damped least squares on a copy of the robot whose arm is where it was told to be, so that a slow
    motor does not wind it up.
    """

    def __init__(self, robot: Humanoid, side: int, state: np.ndarray) -> None:
        """side: 0 left, 1 right. state: (25,), of which the arm's angles are its first targets."""
        self.robot, self.side = robot, side
        self.model, self.told = robot.model, mujoco.MjData(robot.model)
        names = [n for n in JOINTS if n.startswith(SIDES[side])]
        self.columns = [JOINTS.index(n) for n in names]
        joints = [self.model.joint(n) for n in names]
        self._places = np.array([j.qposadr[0] for j in joints])
        self._speeds = np.array([j.dofadr[0] for j in joints])
        self._low, self._high = np.array([j.range for j in joints]).T
        self._site = self.model.site(f"{SIDES[side]}_grip").id
        self.angles, self.closed = np.array(state, float)[self.columns], 0.0
        self.goal: Goal | None = None
        self.place = robot.hands()[side]

    def aim(self, goal: Goal) -> None:
        """Go there from now on."""
        self.goal = goal

    def fill(self, targets: np.ndarray, working: bool) -> None:
        """Put this arm's targets in place of those of `targets` (25,), if it has a goal.

        working: the hand follows its goal; else it stays where it was told to be.
        """
        if self.goal is None:
            return
        if working:
            self._follow(self.goal, targets)
        targets[self.columns], targets[_CLOSURE + self.side] = self.angles, self.closed

    def _follow(self, goal: Goal, targets: np.ndarray) -> None:
        way = goal.place - self.place
        far = float(np.linalg.norm(way))
        self.place = self.place + way * min(1.0, _SPEED / RATE_HZ / max(far, 1e-9))
        near = far < 0.02
        step = np.clip(goal.closed - self.closed, -0.1, 0.1) if near else 0.0
        self.closed = float(self.closed + step)
        for _ in range(2):
            self._solve()

    def _solve(self) -> None:
        told, robot = self.told, self.robot
        told.qpos[:] = robot.data.qpos
        told.qpos[self._places] = self.angles
        mujoco.mj_kinematics(self.model, told)
        mujoco.mj_comPos(self.model, told)
        moving, turning = np.zeros((3, self.model.nv)), np.zeros((3, self.model.nv))
        mujoco.mj_jacSite(self.model, told, moving, turning, self._site)
        hand = told.site_xmat[self._site].reshape(3, 3)
        off = self._turned_off(hand, robot.base.yaw)
        error = np.concatenate([self.place - told.site_xpos[self._site], _TURNING * off])
        jacobian = np.concatenate([moving, _TURNING * turning])[:, self._speeds]
        square = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
        change = jacobian.T @ np.linalg.solve(square, error)
        self.angles = np.clip(self.angles + np.clip(change, -0.04, 0.04), self._low, self._high)

    def _turned_off(self, hand: np.ndarray, yaw: float) -> np.ndarray:
        """Rotation vector (3,) that points the fingers and lays the line between them level."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        pointing = np.cross(-hand[:, 2], turn @ _POINTING)
        level = np.cross(hand[:, 1], turn[:, 1])
        return np.asarray(pointing + level)


def skills(robot: Humanoid, rng: np.random.Generator) -> Iterator[Task]:
    """Tasks without end: an object, the hand that is nearer, and what to do with it."""
    while True:
        place = _in_reach(robot, rng)
        sideways = robot.point_to_base(place)[1]
        side = int(sideways < rng.normal(0, 0.04))
        name = str(rng.choice(("reach", "push", "grasp"), p=(0.15, 0.25, 0.6)))
        if rng.uniform() < MISSES:
            place = place + np.append(rng.choice([-1, 1]) * rng.uniform(0.03, 0.07, 2), 0.0)
        yield Task(side, name, _GOALS[name](robot, place, side, rng))


def _in_reach(robot: Humanoid, rng: np.random.Generator) -> np.ndarray:
    """Where an object in reach stands; a bare spot of the table where there is none."""
    top = robot.room.table[2]
    for k in rng.permutation(NUM_OBJECTS):
        place = robot.objects()[k]
        if np.allclose(place, _on_table(robot, place), atol=1e-3) and place[2] > top:
            return place
    spot = robot.vector_to_world(rng.uniform((0.35, -0.3, 0.0), (0.5, 0.3, 0.0)))
    return np.array([robot.base.x + spot[0], robot.base.y + spot[1], top + 0.06])


def _on_table(robot: Humanoid, place: np.ndarray) -> np.ndarray:
    """The nearest place (3,) above the half of the table that hands reach, well inside its edge."""
    near = np.clip(robot.point_to_base(place), (*_REACH[0], -np.inf), (*_REACH[1], np.inf))
    way = robot.vector_to_world(near)
    return np.array([robot.base.x + way[0], robot.base.y + way[1], place[2]])


def _up(metres: float) -> np.ndarray:
    return np.array([0.0, 0.0, metres])


def _reach(robot: Humanoid, place: np.ndarray, side: int, rng: np.random.Generator) -> list[Goal]:
    above = place + _up(rng.uniform(0.12, 0.2))
    return [Goal(above, 0.0, 30), Goal(place + _up(0.06), 0.0, 20), Goal(above, 0.0, 15)]


def _push(robot: Humanoid, place: np.ndarray, side: int, rng: np.random.Generator) -> list[Goal]:
    """From the hand's own side across, closed."""
    outward = robot.vector_to_world(np.array([0.0, (0.11, -0.11)[side], 0.0]))
    away = robot.vector_to_world(np.array([rng.uniform(-0.05, 0.1), 0.0, 0.0]))
    start, high = place + outward, _up(0.14)
    end = _on_table(robot, place - outward * rng.uniform(0.3, 1.2) + away)
    return [
        Goal(start + high, 1.0, 35),
        Goal(start, 1.0, 20),
        Goal(end, 1.0, 30),
        Goal(end + high, 0.5, 20),
    ]


def _grasp(robot: Humanoid, place: np.ndarray, side: int, rng: np.random.Generator) -> list[Goal]:
    """Down, close, lift, carry, put down, let go."""
    high = _up(0.14)
    lift = place + _up(rng.uniform(0.12, 0.25))
    aside = robot.vector_to_world(np.append(rng.uniform((-0.08, -0.15), (0.06, 0.15)), 0.0))
    carry = _on_table(robot, lift + aside)
    low = np.array([carry[0], carry[1], place[2] + 0.005])
    return [
        Goal(place + high, 0.0, 35),
        Goal(place, 0.0, 25),
        Goal(place, 1.0, 16),
        Goal(lift, 1.0, 25),
        Goal(carry, 1.0, 25),
        Goal(low, 1.0, 25),
        Goal(low, 0.0, 14),
        Goal(low + high, 0.0, 20),
    ]


_GOALS = {"reach": _reach, "push": _push, "grasp": _grasp}
