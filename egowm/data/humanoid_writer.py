"""Runs of the embedded humanoid at 30 Hz, written as its real counterparts are: 1X's layout, or
LeRobot's."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from egowm.actions.humanoid_states import NAMES
from egowm.checks import check_between, check_whole, checked
from egowm.data.lerobot_writer import LeRobotWriter
from egowm.data.one_x_writer import OneXWriter
from egowm.worlds.behaviours import Behaviour
from egowm.worlds.humanoid import RATE_HZ
from egowm.worlds.humanoid_recording import live
from egowm.worlds.recording import seed_of

Layout = Literal["one-x", "lerobot"]
CAMERA = "observation.images.head"
PARTS = {  # of the 25 states; LeRobot's features are named after them
    "legs": slice(0, 6),
    "left_arm": slice(6, 13),
    "right_arm": slice(13, 20),
    "neck": slice(20, 21),
    "hands": slice(21, 23),
    "base": slice(23, 25),
}
TASKS: dict[Behaviour, str] = {
    "navigation": "Drive through the hall and look around.",
    "manipulation": "Reach, push, grasp and lift what lies on the table.",
}


@checked
def write_humanoid(
    output: str | Path,
    layout: Layout,
    behaviour: Behaviour,
    *,
    episodes: int = 16,
    val_episodes: int | None = None,
    seconds: float = 12.0,
    size: int = 128,
    force: bool = False,
) -> None:
    """Let the humanoid behave and write what it saw, was told and how its body was.

    Args:
        output: Folder to write.
        layout: "one-x": states alone, as 1X's release 2.0. "lerobot": targets as actions and the
            states, each split into legs, arms, neck, hands and base, as codebase 3.0; whoever reads
            it divides its episodes.
        behaviour: "navigation" or "manipulation".
        episodes: Halls for training, one run in each.
        val_episodes: Halls for validation, which only 1X's layout names: 4 there unless given.
        seconds: Of each run, 0.25 to 600.
        size: Pixels of a side, even, 16 to 1024.
        force: Replace what was written there before.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: A number out of range.
    """
    check_whole("episodes", episodes, 1, 10_000_000)
    if layout == "lerobot" and val_episodes:
        raise ValueError(
            f"LeRobot's layout does not name validation episodes, got val_episodes {val_episodes}: "
            f"leave it out, and divide the episodes where they are read (val_share, test_share)."
        )
    held_out = {"one-x": 4, "lerobot": 0}[layout] if val_episodes is None else val_episodes
    check_whole("val_episodes", held_out, 0, 10_000_000)
    check_between("seconds", seconds, 0.25, 600.0)
    check_between("size", size, 16, 1024)
    if size % 2:
        raise ValueError(f"Expected an even size, as H.264 wants it, got {size}.")
    count = round(seconds * RATE_HZ)
    wanted = [("train", k) for k in range(episodes)] + [("val", k) for k in range(held_out)]
    runs = (
        (split, _run(seed_of(split, k), behaviour, count, size))
        for split, k in tqdm(wanted, "drawing halls", unit="hall")
    )
    if layout == "one-x":
        with OneXWriter(output, force=force) as shards:
            for split, (frames, states, _) in runs:
                shards.add(frames, states, split="train" if split == "train" else "val")
        return
    kinds = ("action", "observation.state")
    features = {f"{kind}.{part}": NAMES[where] for kind in kinds for part, where in PARTS.items()}
    with LeRobotWriter(output, features, RATE_HZ, robot_type="egowm", force=force) as writer:
        for _, (frames, states, targets) in runs:
            columns = dict(_columns("action", targets)) | dict(_columns(kinds[1], states))
            writer.add(columns, {CAMERA: frames}, TASKS[behaviour])


def _run(
    seed: int, behaviour: Behaviour, count: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (N, H, W, 3), states and targets (N, 25) float32."""
    seen = [
        (robot.render(size, size).rgb, robot.state(), targets.astype(np.float32))
        for robot, targets in islice(live(seed, behaviour, every=1), count)
    ]
    frames, states, targets = (np.stack(values) for values in zip(*seen, strict=True))
    return frames, states, targets


def _columns(kind: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for part, where in PARTS.items():
        yield f"{kind}.{part}", values[:, where]
