"""The embedded humanoid as a data set: made on first use, cached, the same on every machine."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec, NormaliserName
from egowm.actions.humanoid_states import NAMES, UNITS
from egowm.data.drawn import Drawn
from egowm.data.episode import Episode
from egowm.data.module import Window
from egowm.worlds.behaviours import Behaviour
from egowm.worlds.humanoid import RATE_HZ, Humanoid
from egowm.worlds.humanoid_recording import STRIDE, make_humanoid_recording
from egowm.worlds.humanoid_replay import Replay
from egowm.worlds.recording import seed_of
from egowm.worlds.store import WORLD_VERSION, read_frames, read_labels


class HumanoidHalls(Drawn):
    """A humanoid with 1X's 25 states that drives through halls or works at a table, at 5 Hz.

    Actions are differences of states from a frame to the next, as of `OneX`. Halls of the splits
    are disjoint.

    >>> data = HumanoidHalls(behaviour="manipulation", episodes_test=2)
    >>> data.seeds("test"), data.meaning.width  # of halls that are not drawn yet
    ([20000000, 20000001], 25)

    Args:
        root: Folder where halls are kept once they are drawn; made if missing.
        behaviour: "navigation": it drives, looks around and waves its arms. "manipulation": it
            reaches, pushes, grasps and lifts what lies on the table, and sometimes misses.
        episodes_train: Halls for training.
        episodes_val: Halls for validation.
        episodes_test: Halls for tests.
        num_frames: Frames of each episode.
        state: Clips carry the body's state at the last context frame, which a model embeds.
        normaliser: How each dimension is scaled to about [-1, 1].
    """

    prefix = "hall"
    meaning = ActionSpec(NAMES, UNITS, "joint", "difference", rate_hz=RATE_HZ / STRIDE)

    def __init__(
        self,
        root: str = "~/.cache/egowm/halls",
        window: Window = Window(horizon=4, height=64, width=64),
        batch_size: int = 32,
        *,
        behaviour: Behaviour = "navigation",
        episodes_train: int = 256,
        episodes_val: int = 16,
        episodes_test: int = 64,
        num_frames: int = 64,
        state: bool = True,
        normaliser: NormaliserName = "min-max",
        **rest: Any,
    ) -> None:
        super().__init__(root, window, batch_size, latency_frames=0, **rest)
        self.world, self.num_frames, self.state = behaviour, num_frames, state
        self.counts = {"train": episodes_train, "val": episodes_val, "test": episodes_test}
        self.meaning = replace(self.meaning, normalisers=(normaliser,) * len(NAMES))
        self.state_meaning = replace(self.meaning, kind="command") if state else None

    @property
    def source(self) -> str:
        return f"HumanoidHalls ({self.world})"

    def seeds(self, split: str) -> list[int]:
        """Seeds of the halls of a split."""
        return [seed_of(split, k) for k in range(self.counts[split])]

    def made_by(self) -> dict[str, Any]:
        return {
            "version": WORLD_VERSION[self.world],
            "world": self.world,
            "size": [self.window.height, self.window.width],
            "num_frames": self.num_frames,
        }

    def maker(self) -> Callable[[int], None]:
        size = (self.window.height, self.window.width)
        return partial(make_humanoid_recording, self.folder, self.world, self.num_frames, size)

    def episode(self, name: str, folder: Path) -> Episode:
        states = read_labels(folder)["states"]
        kept = states if self.state else np.zeros((0, 0), np.float32)
        actions = np.diff(states.astype(np.float64), axis=0).astype(np.float32)
        return Episode(name, self.num_frames, partial(read_frames, folder), actions, kept)

    def place(self, clip_name: str) -> Replay:
        """The run from a clip's last context frame to the end of its episode."""
        folder, first = self.shared(clip_name)
        robot = Humanoid(int(folder.name.removeprefix(f"{self.prefix}_")))
        labels = read_labels(folder)
        stride = self.window.stride
        positions, states = labels["positions"][first::stride], labels["states"][first::stride]
        return Replay(robot, positions, states, seconds=stride * STRIDE / RATE_HZ)
