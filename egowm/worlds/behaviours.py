"""What the embedded humanoid does: it drives and looks around, or works at the table.

A behaviour yields targets (25,), thirty a second, and looks at the robot between them.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from egowm.actions.humanoid_states import NAMES
from egowm.worlds.arm import Arm, skills
from egowm.worlds.humanoid import RATE_HZ, Base, Humanoid

Behaviour = Literal["navigation", "manipulation"]
MAX_SPEED, MAX_TURN = 0.6, 0.7  # m/s, rad/s
_FEELERS = np.radians([-70, -35, 0, 35, 70])
_FEELER_HEIGHTS = (0.12, 0.9)  # metres: of the wheels, and of the table's top
_AHEAD = 1.6  # metres, nearer than which it turns away

# Around which posture the body sways, and how far (radians or shares); what is left out rests.
_UPRIGHT: dict[str, tuple[float, float]] = {
    "hip_yaw": (0.0, 0.45),
    "hip_roll": (0.0, 0.08),
    "hip_pitch": (0.08, 0.12),
    "knee_pitch": (0.1, 0.1),
    "ankle_roll": (0.0, 0.03),
    "ankle_pitch": (0.0, 0.05),
    "shoulder_pitch": (0.5, 0.6),
    "shoulder_roll": (0.15, 0.2),
    "shoulder_yaw": (0.0, 0.4),
    "elbow_pitch": (0.9, 0.6),
    "elbow_yaw": (0.0, 0.5),
    "wrist_pitch": (0.0, 0.5),
    "wrist_roll": (0.0, 0.3),
    "neck_pitch": (0.2, 0.35),
    "hand_closure": (0.5, 0.5),
}
_AT_TABLE: dict[str, tuple[float, float]] = {
    "hip_yaw": (0.0, 0.12),
    "hip_roll": (0.0, 0.03),
    "hip_pitch": (0.3, 0.06),
    "knee_pitch": (0.12, 0.05),
    "ankle_roll": (0.0, 0.01),
    "ankle_pitch": (0.0, 0.02),
    "shoulder_pitch": (0.55, 0.1),
    "shoulder_roll": (0.2, 0.08),
    "shoulder_yaw": (0.0, 0.1),
    "elbow_pitch": (1.5, 0.15),
    "elbow_yaw": (0.0, 0.1),
    "wrist_pitch": (0.3, 0.15),
    "wrist_roll": (0.0, 0.1),
    "neck_pitch": (0.65, 0.12),
}


class Sway:
    """A posture that moves smoothly: each joint towards a new goal every one to four seconds."""

    def __init__(self, posture: dict[str, tuple[float, float]], rng: np.random.Generator) -> None:
        """posture: middle and half range by name; both sides share those of an arm and a hand."""
        joints = [n.removeprefix("left_").removeprefix("right_") for n in NAMES]
        table = np.array([posture.get(joint, (0.0, 0.0)) for joint in joints])
        self.middle, self.spread = table.T
        self.rng, self.left = rng, np.zeros(len(joints), int)
        self.goal = self._drawn()
        self.now, self.speed = self.goal.copy(), np.zeros(len(joints))

    def next(self) -> np.ndarray:
        """The posture (25,) a thirtieth of a second later."""
        self.left -= 1
        due = self.left <= 0
        self.goal[due] = self._drawn()[due]
        self.left[due] = self.rng.integers(RATE_HZ, 4 * RATE_HZ, int(due.sum()))
        # A critically damped spring with a time constant of 0.4 s.
        pull = ((self.goal - self.now) / 0.4 - 2 * self.speed) / 0.4
        self.speed = self.speed + pull / RATE_HZ
        self.now = self.now + self.speed / RATE_HZ
        return self.now.copy()

    def _drawn(self) -> np.ndarray:
        return np.asarray(self.middle + self.spread * self.rng.uniform(-1, 1, len(self.middle)))


def navigate(robot: Humanoid, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Drive through the hall, look around, wave the arms; turn away from what is close."""
    sway = Sway(_UPRIGHT, rng)
    robot.place(sway.now, _free_place(robot, rng))
    speed, turn, stop = rng.uniform(0.2, MAX_SPEED), rng.normal(0, 0.2), 0
    while True:
        free = _clearances(robot, robot.base)
        turn = 0.97 * turn + rng.normal(0, 0.07)
        if free[1:4].min() < _AHEAD:
            turn += 0.08 * (1.0 if free[3:].sum() >= free[:2].sum() else -1.0)
        turn = float(np.clip(turn, -MAX_TURN, MAX_TURN))
        speed = float(np.clip(speed + rng.normal(0, 0.02), 0.1, MAX_SPEED))
        if stop == 0 and rng.uniform() < 0.005:
            stop = int(rng.integers(15, 60))
        stop = max(stop - 1, 0)
        blocked = free[1:4].min() < 0.7
        targets = sway.next()
        targets[23:] = 0.0 if stop or blocked else speed, turn
        yield targets


def manipulate(robot: Humanoid, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Reach, push, grasp and lift what lies on the table; a quarter of the tries are off."""
    sway = Sway(_AT_TABLE, rng)
    x, y, yaw = robot.before_table()
    robot.place(sway.now, Base(*(np.array([x, y, yaw]) + rng.normal(0, (0.015, 0.015, 0.03)))))
    arms = [Arm(robot, side, sway.now) for side in range(2)]
    home = Base(x, y, yaw)
    for task in skills(robot, rng):
        for goal in task.goals:
            arms[task.side].aim(goal)
            for _ in range(goal.steps):
                targets = sway.next()
                targets[23:] = _held(robot.base, home, rng)
                for side, arm in enumerate(arms):
                    arm.fill(targets, working=side == task.side)
                yield targets


BEHAVIOURS: dict[str, Callable[[Humanoid, np.random.Generator], Iterator[np.ndarray]]] = {
    "navigation": navigate,
    "manipulation": manipulate,
}


def _held(base: Base, home: Base, rng: np.random.Generator) -> tuple[float, float]:
    """Speed and turn of a base that shifts its weight around its place before the table."""
    c, s = np.cos(home.yaw), np.sin(home.yaw)
    ahead = (base.x - home.x) * c + (base.y - home.y) * s
    speed, turn = rng.normal(-0.8 * ahead, 0.03), rng.normal(0.8 * (home.yaw - base.yaw), 0.1)
    return float(speed), float(turn)


def _clearances(robot: Humanoid, base: Base, angles: np.ndarray = _FEELERS) -> np.ndarray:
    """Metres from the base to what stands in each direction, at the heights of wheels and table."""
    directions = np.stack([np.cos(base.yaw + angles), np.sin(base.yaw + angles), 0 * angles], 1)
    starts = [np.array([base.x, base.y, height]) for height in _FEELER_HEIGHTS]
    hits = [robot.hall_hits(start, directions) for start in starts]
    return np.asarray(np.min(hits, 0))


def _free_place(robot: Humanoid, rng: np.random.Generator) -> Base:
    """A free place that looks into the hall: of 40 the one with the most around and ahead."""
    a, b = robot.room.half_size
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    best, place = -np.inf, Base(0.0, 0.0, 0.0)
    for _ in range(40):
        spot = rng.uniform((-a + 0.8, -b + 0.8, -np.pi), (a - 0.8, b - 0.8, np.pi))
        trial = Base(*spot.tolist())
        ahead = _clearances(robot, trial, np.radians([-15.0, 0, 15])).min()
        score = min(ahead, 3.0) + 3 * min(_clearances(robot, trial, around).min(), 0.7)
        if score > best:
            best, place = score, trial
    return place
