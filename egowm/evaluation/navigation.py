"""Going to a picture in the embedded rooms: tasks, the robot, and who decides.

A task is a start and a goal 1, 2 or 4 m away, seen from the start or outside the view; a robot sees
frames only and has arrived within 0.5 m and 20 degrees. Everything is acted out in the true
simulator, walls included.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from egowm.checks import check_between, checked
from egowm.worlds.motion import (
    MAX_TURN,
    ROBOT_HEIGHT,
    clearances,
    find_start,
    realise,
    step,
)
from egowm.worlds.recording import seed_of
from egowm.worlds.rooms import Camera, Room

DISTANCE, DISTANCE_MARGIN = 2.0, 0.25  # metres
VISIBLE = np.radians(35.0)  # bearing of a goal that is seen; half the view is 45
HIDDEN = np.radians(60.0), np.radians(150.0)  # of one that is not
GOAL_TURN = np.radians(20.0)  # of the goal's heading against the way there, at most
NEAR, ALIGNED = 0.5, np.radians(20.0)  # what counts as arrived
MAX_FORWARD = 0.3  # metres a step
_TRIES = 400
MOST_METRES, MOST_STEPS = 100.0, 1_000_000  # of a task: more is a mistake

Pose = tuple[float, float, float]  # x, y, yaw; metres, radians


@checked
@dataclass(frozen=True)
class Task:
    """Go from start to goal in a room.

    Args:
        seed: Of the room.
        start: Pose (x, y, yaw), metres and radians.
        goal: Pose (x, y, yaw), metres and radians.

    >>> Task(7, (0.0, 0.0, 0.0), (3.0, 4.0, 1.0)).distance
    5.0
    """

    seed: int
    start: Pose
    goal: Pose

    def __post_init__(self) -> None:
        if not np.isfinite([*self.start, *self.goal]).all():
            raise ValueError(f"Expected poses of finite numbers, got {self.start}, {self.goal}.")

    @property
    def distance(self) -> float:
        """Metres from start to goal."""
        return off(self.start, self.goal)[0]


class Run(NamedTuple):
    """What came of a task.

    poses: (n+1, 3). frames: (n+1, H, W, 3) uint8. metres, degrees: from the goal at the end.
    success: arrived at the end. reached: at any time.
    """

    poses: np.ndarray
    frames: np.ndarray
    metres: float
    degrees: float
    success: bool
    reached: bool


class Agent(Protocol):
    """Decides from what the robot sees; `act` gets frames (H, W, 3) and gives (dx, dy, dyaw)."""

    def begin(self, task: Task, goal: np.ndarray) -> None: ...

    def act(self, frame: np.ndarray) -> np.ndarray: ...


class Robot:
    """The robot of a task in its room; walls and things stop it."""

    def __init__(self, task: Task, height: int = 64, width: int = 64) -> None:
        self.task, self.size = task, (height, width)
        self.room, self.pose = Room(task.seed), task.start

    def look(self, pose: Pose | None = None) -> np.ndarray:
        """A frame (H, W, 3) uint8 from its place, or from another one."""
        x, y, yaw = self.pose if pose is None else pose
        return self.room.render(Camera(x, y, ROBOT_HEIGHT, yaw), *self.size).rgb

    def move(self, action: np.ndarray) -> None:
        """As far as the room allows."""
        self.pose = step(*self.pose, realise(self.room, *self.pose, np.asarray(action, float)))


@checked
def make_task(
    index: int, split: str = "test", distance: float = DISTANCE, visible: bool = True
) -> Task:
    """The task of one unseen room: a goal to which the straight way is free.

    Args:
        index: Number of the room in its set, from 0.
        split: Set of rooms; the default is of those that no model was trained on.
        distance: Metres to the goal, kept within a quarter of a metre; 0.5 to 100.
        visible: The goal is within 35 degrees of where the robot looks, else 60 to 150 degrees off.

    Raises:
        ValueError: The room allows no such task.

    >>> round(make_task(0).distance, 2)
    1.97
    """
    check_between("distance", distance, 0.5, MOST_METRES)
    seed = seed_of(split, index)
    room, rng = Room(seed), np.random.default_rng([seed, 11])
    for _ in range(_TRIES // 40):
        start = find_start(room, rng)
        for _ in range(40):
            bearing = _bearing(rng, visible)
            metres = distance + rng.uniform(-DISTANCE_MARGIN, DISTANCE_MARGIN)
            way = start[2] + bearing
            goal = (
                start[0] + metres * float(np.cos(way)),
                start[1] + metres * float(np.sin(way)),
                way + rng.uniform(-GOAL_TURN, GOAL_TURN),
            )
            if _allowed(room, start, goal, bearing, metres):
                return Task(seed, start, goal)
    raise ValueError(f"Room {seed} has no free goal {distance:g} m away: take another.")


def _bearing(rng: np.random.Generator, visible: bool) -> float:
    if visible:
        return rng.uniform(-VISIBLE, VISIBLE)
    return rng.choice([-1.0, 1.0]) * rng.uniform(*HIDDEN)


def time_allowed(distance: float = DISTANCE, visible: bool = True) -> int:
    """Actions of an episode: twice the straight way, and the largest turn towards it."""
    turn = VISIBLE if visible else HIDDEN[1]
    return 2 * int(np.ceil(distance / MAX_FORWARD)) + int(np.ceil(turn / MAX_TURN))


@checked
def make_tasks(
    count: int, split: str = "test", distance: float = DISTANCE, visible: bool = True
) -> list[Task]:
    """Tasks of the first `count` rooms that allow one; see `make_task`."""
    tasks: list[Task] = []
    index = 0
    while len(tasks) < count:
        try:
            tasks.append(make_task(index, split, distance, visible))
        except ValueError:
            if index > 10 * count + 10:
                raise
        index += 1
    return tasks


def _allowed(room: Room, start: Pose, goal: Pose, bearing: float, distance: float) -> bool:
    """A free way with room to both sides, and around the goal."""
    ahead = clearances(room, *start, bearing + np.radians([-12.0, 0.0, 12.0])).min()
    around = clearances(room, *goal, np.linspace(0, 2 * np.pi, 8, endpoint=False)).min()
    return bool(ahead > distance + 0.6 and around > 0.6)


def off(pose: Pose, goal: Pose) -> tuple[float, float]:
    """Metres and radians between two poses."""
    turn = (pose[2] - goal[2] + np.pi) % (2 * np.pi) - np.pi
    return float(np.hypot(pose[0] - goal[0], pose[1] - goal[1])), abs(float(turn))


def arrived(pose: Pose, goal: Pose) -> bool:
    """Within 0.5 m and 20 degrees."""
    metres, radians = off(pose, goal)
    return bool(metres <= NEAR and radians <= ALIGNED)


@checked
def act_out(task: Task, agent: Agent, max_steps: int = 16, size: tuple[int, int] = (64, 64)) -> Run:
    """Let an agent do a task in the true simulator.

    Args:
        task: Where to go.
        agent: Has `begin(task, goal)` and `act(frame)`, as `Oracle` has.
        max_steps: Actions of the episode, 0 or more.
        size: Height and width of the frames, in pixels.

    >>> run = act_out(make_task(0), StraightAhead(1.0), max_steps=6)
    >>> run.frames.shape, round(run.metres, 1), run.success
    ((7, 64, 64, 3), 1.0, False)
    """
    check_between("max_steps", max_steps, 0, MOST_STEPS)
    robot = Robot(task, *size)
    agent.begin(task, robot.look(task.goal))
    poses, frames = [robot.pose], [robot.look()]
    for _ in range(max_steps):
        robot.move(agent.act(frames[-1]))
        poses.append(robot.pose)
        frames.append(robot.look())
    metres, radians = off(robot.pose, task.goal)
    reached = any(arrived(pose, task.goal) for pose in poses)
    return Run(
        np.array(poses),
        np.stack(frames),
        metres,
        float(np.degrees(radians)),
        arrived(robot.pose, task.goal),
        reached,
    )


def simulate(room: Room, pose: Pose, actions: Sequence[np.ndarray]) -> Pose:
    """Where actions lead, walls included: the simulator as a world model."""
    for action in actions:
        pose = step(*pose, realise(room, *pose, np.asarray(action, float)))
    return pose


# Who sees nothing, and who sees everything ------------------------------------------------------


class StraightAhead:
    """Drives `metres` forward and stops."""

    def __init__(self, metres: float = DISTANCE) -> None:
        self.metres = metres

    def begin(self, task: Task, goal: np.ndarray) -> None:
        self.left = self.metres

    def act(self, frame: np.ndarray) -> np.ndarray:
        forward = min(MAX_FORWARD, self.left)
        self.left -= forward
        return np.array([forward, 0.0, 0.0])


class Random:
    """Draws every action evenly from what the robot can do."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def begin(self, task: Task, goal: np.ndarray) -> None:
        self.rng = np.random.default_rng([self.seed, task.seed])

    def act(self, frame: np.ndarray) -> np.ndarray:
        forward, turn = self.rng.uniform(0, MAX_FORWARD), self.rng.uniform(-MAX_TURN, MAX_TURN)
        return np.array([forward, 0.0, turn])


class Oracle:
    """Knows where it is and where the goal is: drives at it, then turns as it should.

    >>> run = act_out(make_task(0), Oracle(), max_steps=20)
    >>> round(run.metres, 2), round(run.degrees), run.success
    (0.17, 0, True)
    """

    def begin(self, task: Task, goal: np.ndarray) -> None:
        """Start an episode.

        Args:
            task: Where it is and where to go.
            goal: The frame (H, W, 3) uint8 at the goal, which it has no need of.
        """
        self.task, self.pose = task, task.start
        self.room = Room(task.seed)

    def act(self, frame: np.ndarray) -> np.ndarray:
        """The next action (dx, dy, dyaw), metres and radians.

        Args:
            frame: (H, W, 3) uint8, what the robot sees, which it has no need of.
        """
        x, y, yaw = self.pose
        gx, gy, gyaw = self.task.goal
        metres, _ = off(self.pose, self.task.goal)
        close = metres < 0.35
        wanted = gyaw if close else float(np.arctan2(gy - y, gx - x))
        turn = float(np.clip((wanted - yaw + np.pi) % (2 * np.pi) - np.pi, -MAX_TURN, MAX_TURN))
        facing = abs((wanted - yaw + np.pi) % (2 * np.pi) - np.pi) < np.radians(12)
        forward = 0.0 if close or not facing else min(MAX_FORWARD, metres)
        action = np.array([forward, 0.0, turn])
        self.pose = simulate(self.room, self.pose, [action])
        return action
