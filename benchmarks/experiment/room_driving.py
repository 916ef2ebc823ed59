"""How drivers do in the room of a live robot, from the same places, in the true simulator."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.stats import beta

from benchmarks.measure import Record
from egowm.evaluation.navigation import Pose, off
from egowm.pixels import picture
from egowm.policies import LiveRobot, Policy
from egowm.policies.collector import RandomActions

SEED = 5  # of the places where drivers begin
CLOSE, FACING = 0.35, np.radians(12.0)  # of the driver that knows: metres, radians


class Driver(Protocol):
    """Begins anew at a place, then acts on each frame (H, W, 3) uint8."""

    def begin(self) -> None: ...

    def act(self, frame: np.ndarray) -> np.ndarray: ...


class ByPolicy:
    """The likeliest actions of a policy."""

    def __init__(self, policy: Policy, goal: np.ndarray) -> None:
        self.policy, self.goal = policy, picture(goal)[None]

    def begin(self) -> None:
        self.memory = self.policy.begin(self.goal)

    def act(self, frame: np.ndarray) -> np.ndarray:
        self.memory, actions = self.policy.act(self.memory, picture(frame)[None])
        chosen: np.ndarray = actions[0].double().numpy()
        return chosen


class AtRandom:
    """What a robot does before it has a policy."""

    def __init__(self, robot: LiveRobot) -> None:
        self.robot = robot

    def begin(self) -> None:
        self.actions = RandomActions(self.robot.spec, np.random.default_rng([SEED, 1]))

    def act(self, frame: np.ndarray) -> np.ndarray:
        return self.actions(self.robot.blocked)


class Knowing:
    """Knows where robot and goal are: turns to the goal, drives there, turns as it should."""

    def __init__(self, robot: LiveRobot) -> None:
        self.robot = robot

    def begin(self) -> None:
        """It remembers nothing."""

    def act(self, frame: np.ndarray) -> np.ndarray:
        (x, y, yaw), (gx, gy, heading), most = (
            self.robot.pose,
            self.robot.goal,
            self.robot.spec.high,
        )
        metres = float(np.hypot(gx - x, gy - y))
        wanted = heading if metres < CLOSE else np.arctan2(gy - y, gx - x)
        wrong = (wanted - yaw + np.pi) % (2 * np.pi) - np.pi
        ahead = 0.0 if metres < CLOSE or abs(wrong) > FACING else min(most[0], metres)
        return np.array([ahead, 0.0, np.clip(wrong, -most[2], most[2])])


def places(robot: LiveRobot, count: int) -> list[Pose]:
    """Where drivers begin, the same for all."""
    rng = np.random.default_rng([SEED, 0])
    return [robot.place(rng) for _ in range(count)]


def judged(robot: LiveRobot, driver: Driver, starts: Sequence[Pose], most: int) -> Record:
    """How many arrive within so many steps, with a 95% interval (Clopper and Pearson), and the mean
    distance from the goal at the end, metres."""
    came, metres = [], []
    for start in starts:
        robot.pose, robot.blocked = start, False
        driver.begin()
        there = any(not robot.move(driver.act(robot.look())).goes_on for _ in range(most))
        came.append(there)
        metres.append(off(robot.pose, robot.goal)[0])
    return {
        "arrived": sum(came),
        "starts": len(came),
        "ci95": exact_interval(sum(came), len(came)),
        "metres": round(float(np.mean(metres)), 2),
    }


def exact_interval(hits: int, trials: int) -> list[float]:
    """Shares between which the true one lies with 95%.

    >>> exact_interval(0, 20), exact_interval(10, 20)
    ([0.0, 0.168], [0.272, 0.728])
    """
    low = beta.ppf(0.025, hits, trials - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, trials - hits) if hits < trials else 1.0
    return [round(float(low), 3), round(float(high), 3)]
