"""Recordings of the embedded humanoid: what it saw and how its body was, at 5 Hz or at 30."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from egowm.checks import MOST_SEED, check_between, checked
from egowm.worlds.behaviours import BEHAVIOURS, Behaviour
from egowm.worlds.drawing import check_size
from egowm.worlds.humanoid import RATE_HZ, Humanoid
from egowm.worlds.recording import MOST_FRAMES
from egowm.worlds.store import keep

STRIDE = 6  # of the 30 states a second, as in EgoWM's training on 1X


@dataclass(frozen=True)
class HumanoidRecording:
    """One run of N frames.

    Args:
        frames: (N, H, W, 3) uint8.
        ids: (N, H, W) uint8; see `egowm.worlds.humanoid_room`.
        states: (N, 25) float32 in 1X's order.
        positions: (N, Q) float64 of everything that moves, for `Humanoid.restore`.
    """

    frames: np.ndarray
    ids: np.ndarray
    states: np.ndarray
    positions: np.ndarray


@checked
def live(
    seed: int, behaviour: Behaviour, every: int = STRIDE
) -> Iterator[tuple[Humanoid, np.ndarray]]:
    """The robot of a hall while it behaves and the targets (25,) that come next, without end.

    Args:
        seed: Of the hall and of what is done in it.
        behaviour: "navigation" or "manipulation".
        every: Thirtieths of a second between two looks.

    >>> robots = live(20_000_000, "manipulation")
    >>> states = [next(robots)[0].state() for _ in range(2)]
    >>> len(states[0])
    25
    """
    check_between("seed", seed, 0, MOST_SEED)
    check_between("every", every, 1, RATE_HZ * 60)
    robot = Humanoid(seed)
    run = BEHAVIOURS[behaviour](robot, np.random.default_rng([seed, 7]))
    for k, targets in enumerate(run):
        if k % every == 0:
            yield robot, targets
        robot.step(targets)


@checked
def record_humanoid(
    seed: int, behaviour: Behaviour, num_frames: int = 64, height: int = 64, width: int = 64
) -> HumanoidRecording:
    """What the robot of this seed does and sees, at 5 Hz.

    Args:
        seed: Of the hall and of what is done in it.
        behaviour: "navigation" or "manipulation".
        num_frames: N, 1 to 1,000,000.
        height: Pixels.
        width: Pixels.
    """
    check_between("num_frames", num_frames, 1, MOST_FRAMES)
    check_size(height, width)
    seen = [
        (robot.render(height, width), robot.state(), robot.data.qpos.copy())
        for robot, _ in islice(live(seed, behaviour), num_frames)
    ]
    views, states, positions = zip(*seen, strict=True)
    frames, ids = (np.stack([view[k] for view in views]) for k in range(2))
    return HumanoidRecording(frames, ids, np.stack(states), np.stack(positions))


def make_humanoid_recording(
    root: Path, behaviour: Behaviour, num_frames: int, size: tuple[int, int], seed: int
) -> None:
    """Draw the run of `seed` into the folder `root/hall_<seed>`."""
    made = record_humanoid(seed, behaviour, num_frames, *size)
    labels = {"states": made.states, "positions": made.positions}
    keep(root / f"hall_{seed}", made.frames, made.ids, labels)
