"""How cameras move: a wheeled robot driving as in RECON at 4 Hz, and a hand-held camera.

Robot: 0.15-0.3 m forward and at most 6 degrees of turn a frame, turning drawn from an AR(1)
process, some stops, steering away from what is close; a wall or a thing stops it, so the realised
motion differs from the command.
"""

from dataclasses import dataclass

import numpy as np

from egowm.worlds.rooms import Camera, Room

MAX_TURN = np.radians(6.0)
ROBOT_HEIGHT = 0.6  # metres, camera above the floor
_CLEARANCE = 0.45  # metres kept to the nearest surface
_FEELERS = np.radians([-60, -30, 0, 30, 60])


@dataclass(frozen=True)
class Disturbances:
    """Flaws of real recordings that can be switched on; all are off by default.

    Args:
        slip: Standard deviation of the realised motion, as a share of the commanded one.
        jitter: Standard deviation of the camera's pitch and roll, in radians.
        blur: Frames averaged over the exposure; 1 is sharp.
        exposure: Standard deviation of the drift of the gain from a frame to the next.
    """

    slip: float = 0.0
    jitter: float = 0.0
    blur: int = 1
    exposure: float = 0.0


def step(x: float, y: float, yaw: float, action: np.ndarray) -> tuple[float, float, float]:
    """Pose after an SE(2) action (dx, dy, dyaw) in the body frame of the pose; metres, radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    return x + c * action[0] - s * action[1], y + s * action[0] + c * action[1], yaw + action[2]


def clearances(room: Room, x: float, y: float, yaw: float, angles: np.ndarray) -> np.ndarray:
    """Distance to the next surface at camera height in the given directions; metres."""
    directions = np.stack([np.cos(yaw + angles), np.sin(yaw + angles), 0 * angles], 1)
    return room.cast(np.array([x, y, ROBOT_HEIGHT]), directions)[1]


def realise(room: Room, x: float, y: float, yaw: float, action: np.ndarray) -> np.ndarray:
    """The part of an action that the room allows: a surface in the way stops the translation."""
    distance = float(np.hypot(action[0], action[1]))
    if distance == 0:
        return action
    heading = np.arctan2(action[1], action[0]) + np.radians([-25, 0, 25])
    if clearances(room, x, y, yaw, heading).min() < distance + _CLEARANCE:
        return np.array([0.0, 0.0, action[2]])
    return action


def find_start(room: Room, rng: np.random.Generator) -> tuple[float, float, float]:
    """A free pose that looks into the room: at least 2 m ahead and 0.8 m all around."""
    a, b = room.plan.half_size
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    best, pose = -np.inf, (0.0, 0.0, 0.0)
    for _ in range(40):
        x, y = rng.uniform(-a + 1, a - 1), rng.uniform(-b + 1, b - 1)
        yaw = rng.uniform(-np.pi, np.pi)
        ahead = clearances(room, x, y, yaw, np.radians([-15, 0, 15])).min()
        score = min(ahead, 4.0) + 2 * min(clearances(room, x, y, yaw, around).min(), 0.8)
        if score > best:
            best, pose = score, (x, y, yaw)
    return pose


def drive(
    room: Room, rng: np.random.Generator, num_frames: int, disturbances: Disturbances
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A robot's run: poses (N, 3) and commanded and realised actions (N-1, 3)."""
    x, y, yaw = find_start(room, rng)
    poses, commands, realised = [(x, y, yaw)], [], []
    turn, speed = rng.normal(0, 0.05), rng.uniform(0.15, 0.3)
    stop = 0
    for _ in range(num_frames - 1):
        free = clearances(room, x, y, yaw, _FEELERS)
        turn = 0.85 * turn + rng.normal(0, np.radians(1.9))
        if free[1:4].min() < 1.4:  # steer to the open side
            turn += np.radians(3.0) * np.sign(free[3:].sum() - free[:2].sum())
        turn = float(np.clip(turn, -MAX_TURN, MAX_TURN))
        speed = float(np.clip(speed + rng.normal(0, 0.02), 0.15, 0.3))
        if stop == 0 and rng.uniform() < 0.02:
            stop = int(rng.integers(2, 5))
        forward = 0.0 if stop else speed
        stop = max(stop - 1, 0)
        command = np.array([forward, 0.0, turn])
        moved = command
        if disturbances.slip:
            moved = command * (1 + rng.normal(0, disturbances.slip, 3))
            moved[1] = rng.normal(0, disturbances.slip * 0.2) * forward
        moved = realise(room, x, y, yaw, moved)
        x, y, yaw = step(x, y, yaw, moved)
        poses.append((x, y, yaw))
        commands.append(command)
        realised.append(moved)
    return np.array(poses), np.array(commands), np.array(realised)


def hand_held(room: Room, rng: np.random.Generator, num_frames: int) -> list[Camera]:
    """A person's camera: smooth 6-DoF motion at 0.3-1.7 m height, with pitch and roll."""
    x, y, yaw = find_start(room, rng)
    height = rng.uniform(0.3, 1.7)
    pitch, roll = rng.normal(0, 0.1), rng.normal(0, 0.04)
    velocity, rates = rng.normal(0, 0.1, 3), rng.normal(0, 0.04, 3)
    velocity[0] += rng.uniform(0, 0.25)
    cameras = []
    for _ in range(num_frames):
        cameras.append(Camera(x, y, height, yaw, pitch, roll))
        velocity = 0.9 * velocity + rng.normal(0, (0.06, 0.04, 0.02))
        velocity[0] += 0.015
        rates = 0.85 * rates + rng.normal(0, (0.035, 0.012, 0.006))
        rates[0] = np.clip(rates[0], -1.2 * MAX_TURN, 1.2 * MAX_TURN)
        moved = np.array([*np.clip(velocity[:2], -0.25, 0.35), rates[0]])
        x, y, yaw = step(x, y, yaw, realise(room, x, y, yaw, moved))
        height = float(np.clip(height + 0.3 * velocity[2], 0.3, 1.7))
        pitch = float(np.clip(0.95 * pitch + rates[1], -0.4, 0.3))
        roll = float(np.clip(0.9 * roll + rates[2], -0.2, 0.2))
    return cameras
