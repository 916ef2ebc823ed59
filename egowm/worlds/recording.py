"""Recordings of rooms: what a robot (or a passer-by) saw, with everything that caused it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from egowm.checks import MOST_SEED, check_between, check_shape, checked, shown
from egowm.worlds.drawing import View, check_size
from egowm.worlds.motion import ROBOT_HEIGHT, Disturbances, drive, hand_held, step
from egowm.worlds.rooms import FIRST_STRUCTURE, Camera, Room, Style

# The first seed of each set; a set may hold up to 10 million rooms, so no two sets share one.
FIRST_SEED = {"train": 0, "val": 10_000_000, "test": 20_000_000, "passive": 30_000_000}
PASSIVE_FOV_DEGREES = (60.0, 110.0)
MIN_AREA = 0.01  # share of frame 0 that a structure must cover to be scored
MIN_STRUCTURES, MAX_STRUCTURES = 4, 8
MAX_GONE = 0.25  # share of the structures that may be out of view at frame 16
NUM_TRIES = 12
MOST_FRAMES = 1_000_000  # of a recording: more is a mistake that fills the memory


@dataclass(frozen=True)
class Recording:
    """One run. Actions are (dx, dy, dyaw) in the body frame; metres, radians; passive: zeros."""

    frames: np.ndarray  # (N, H, W, 3) uint8
    ids: np.ndarray  # (N, H, W) uint8
    cameras: np.ndarray  # (N, 6) x y z yaw pitch roll
    commanded: np.ndarray  # (N-1, 3)
    realised: np.ndarray  # (N-1, 3)


@checked
def seed_of(split: str, index: int) -> int:
    """The room's seed: sets are disjoint by construction."""
    if split not in FIRST_SEED:
        raise ValueError(f"Expected a set of {sorted(FIRST_SEED)}, got {split!r}.")
    if not 0 <= index < 10_000_000:
        raise ValueError(f"Expected a room between 0 and 9,999,999, got {index}.")
    return FIRST_SEED[split] + index


@checked
def record(
    seed: int,
    style: Style = "robot",
    num_frames: int = 33,
    height: int = 64,
    width: int = 64,
    disturbances: Disturbances = Disturbances(),
    papers: str | Path = "",
) -> Recording:
    """Drive through the room of this seed and draw every frame; papers: see `Room`.

    Of up to 12 runs through a robot room the first is taken that starts with at least 4
    structures of 1% of the frame and keeps three quarters of them in view for 16 frames; if there
    is none, the one that comes nearest.
    """
    check_between("num_frames", num_frames, 1, MOST_FRAMES)
    check_between("seed", seed, 0, MOST_SEED)
    check_size(height, width)
    rng = np.random.default_rng([seed, 7])
    room = Room(seed, style, papers)
    if style == "passive":
        return _record_passive(room, rng, num_frames, height, width)
    poses, commanded, realised = _choose_run(room, rng, num_frames, height, width, disturbances)
    cameras = [Camera(x, y, ROBOT_HEIGHT, yaw) for x, y, yaw in poses]
    if disturbances.jitter:
        tilt = rng.normal(0, disturbances.jitter, (num_frames, 2))
        cameras = [c._replace(pitch=p, roll=r) for c, (p, r) in zip(cameras, tilt, strict=True)]
    views = [room.render(camera, height, width) for camera in cameras]
    frames = np.stack([view.rgb for view in views])
    if disturbances.blur > 1:
        frames = _blurred(room, cameras, frames, disturbances.blur)
    if disturbances.exposure:
        drift = np.cumsum(rng.normal(0, disturbances.exposure, num_frames))
        frames = np.clip(frames * np.exp(drift)[:, None, None, None], 0, 255).astype(np.uint8)
    return _recording(frames, views, cameras, commanded, realised)


@checked
def follow(
    seed: int,
    start: np.ndarray | Sequence[float],
    actions: np.ndarray,
    height: int = 64,
    width: int = 64,
    papers: str | Path = "",
) -> tuple[np.ndarray, np.ndarray]:
    """The simulator itself as a world model: frames (T+1, H, W, 3) and ids (T+1, H, W).

    start: (x, y, yaw) metres, radians. actions: (T, 3) body frame. Walls are not checked: a wrong
    action sequence may leave the room, as a generated video may.
    """
    start = np.asarray(start)
    if start.dtype.kind not in "iuf":
        raise ValueError(f"Expected start as x, y and yaw, got {start!r}.")
    check_shape("start", start, "3")
    check_shape("actions", actions, "T 3")
    if not np.isfinite(start).all() or not np.isfinite(actions).all():
        raise ValueError("Expected a start and actions of finite numbers, got NaN or inf.")
    room = Room(seed, "robot", papers)
    pose = (float(start[0]), float(start[1]), float(start[2]))
    views = [room.render(Camera(pose[0], pose[1], ROBOT_HEIGHT, pose[2]), height, width)]
    for action in actions:
        pose = step(*pose, action)
        views.append(room.render(Camera(pose[0], pose[1], ROBOT_HEIGHT, pose[2]), height, width))
    return np.stack([v.rgb for v in views]), np.stack([v.ids for v in views])


@checked
def structures(ids: np.ndarray) -> list[int]:
    """Scored structures of a first frame (H, W): at least 1% of it, largest first, at most 8."""
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"Expected ids of whole numbers, got {shown(ids)}.")
    values, counts = np.unique(ids, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    large = [int(values[k]) for k in order if counts[k] >= MIN_AREA * ids.size]
    return [value for value in large if value >= FIRST_STRUCTURE][:MAX_STRUCTURES]


def _choose_run(
    room: Room,
    rng: np.random.Generator,
    num_frames: int,
    height: int,
    width: int,
    disturbances: Disturbances,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A run whose structures mostly stay in view; see `record`."""
    best, nearest = None, 2.5
    for _ in range(NUM_TRIES):
        run = drive(room, rng, num_frames, disturbances)
        ends = (run[0][0], run[0][min(16, num_frames - 1)])
        first, later = (
            room.render(Camera(x, y, ROBOT_HEIGHT, yaw), height, width).ids for x, y, yaw in ends
        )
        scored = structures(first)
        gone = float(np.mean([not (later == value).any() for value in scored])) if scored else 1.0
        miss = gone + (len(scored) < MIN_STRUCTURES)
        if miss < nearest:
            best, nearest = run, miss
        if miss <= MAX_GONE:
            break
    assert best is not None
    return best


def _record_passive(
    room: Room, rng: np.random.Generator, num_frames: int, height: int, width: int
) -> Recording:
    cameras = hand_held(room, rng, num_frames)
    fov = rng.uniform(*PASSIVE_FOV_DEGREES)
    places = room.data.mocap_pos[:, :2].copy()
    speeds = rng.normal(0, 0.06, places.shape)
    views = []
    for k, camera in enumerate(cameras):
        if len(places):
            room.move(places + k * speeds)
        views.append(room.render(camera, height, width, fov))
    frames = np.stack([view.rgb for view in views])
    none = np.zeros((num_frames - 1, 3))
    return _recording(frames, views, cameras, none, none)


def _blurred(room: Room, cameras: list[Camera], frames: np.ndarray, samples: int) -> np.ndarray:
    """Average over the second half of the way from the previous camera to each one."""
    height, width = frames.shape[1:3]
    out = frames.copy()
    for k in range(1, len(cameras)):
        before, after = np.array(cameras[k - 1]), np.array(cameras[k])
        shares = np.linspace(0.5, 1, samples)
        drawn = [
            room.render(Camera(*(before + s * (after - before))), height, width).rgb for s in shares
        ]
        out[k] = np.mean(drawn, 0).round().astype(np.uint8)
    return out


def _recording(
    frames: np.ndarray,
    views: list[View],
    cameras: list[Camera],
    commanded: np.ndarray,
    realised: np.ndarray,
) -> Recording:
    return Recording(
        frames,
        np.stack([view.ids for view in views]),
        np.array(cameras, np.float32),
        commanded.astype(np.float32),
        realised.astype(np.float32),
    )
