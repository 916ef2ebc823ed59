"""The embedded rooms as a data set: made on first use, cached, the same on every machine."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from egowm.data.drawn import Drawn
from egowm.data.episode import Episode
from egowm.data.module import Window
from egowm.data.normalisers import WHEELED
from egowm.worlds.geometry import Geometry, look
from egowm.worlds.motion import Disturbances
from egowm.worlds.recording import seed_of
from egowm.worlds.rooms import Room
from egowm.worlds.store import WORLD_VERSION, make_recording, read_frames, read_labels


class Rooms(Drawn):
    """Rooms of the embedded world, with a robot that drives as in RECON, at 4 Hz.

    Rooms of the splits, and of the two worlds, are disjoint.

    >>> Rooms(episodes_test=2).seeds("test")  # of rooms that are not drawn yet
    [20000000, 20000001]

    Args:
        root: Folder where rooms are kept once they are drawn; made if missing.
        world: "robot" has actions; "passive" is video by a hand-held camera, whose actions are
            zeros.
        episodes_train: Rooms for training.
        episodes_val: Rooms for validation.
        episodes_test: Rooms for tests.
        first_train: Number of the first room for training. Trainings whose rooms are to be disjoint
            begin at different numbers, at least episodes_train apart.
        num_frames: Frames of each episode.
        actions: "realised" (as odometry reports), "commanded" or "none" (zeros: video without
            actions).
        disturbances: Flaws of real recordings: slip, jitter, blur, exposure.
        papers: Folder of pictures whose luminance takes the place of the walls' texture.
    """

    prefix = "room"
    meaning = WHEELED

    def __init__(
        self,
        root: str = "~/.cache/egowm/rooms",
        window: Window = Window(horizon=4, height=64, width=64),
        batch_size: int = 32,
        *,
        world: Literal["robot", "passive"] = "robot",
        episodes_train: int = 256,
        episodes_val: int = 16,
        episodes_test: int = 64,
        first_train: int = 0,
        num_frames: int = 33,
        actions: Literal["realised", "commanded", "none"] = "realised",
        disturbances: Disturbances = Disturbances(),
        papers: str = "",
        **rest: Any,
    ) -> None:
        super().__init__(root, window, batch_size, latency_frames=0, **rest)
        self.world, self.num_frames = world, num_frames
        self.counts = {"train": episodes_train, "val": episodes_val, "test": episodes_test}
        self.first_train = first_train
        self.actions, self.disturbances, self.papers = actions, disturbances, papers

    @property
    def source(self) -> str:
        return "Rooms" if self.world == "robot" else "Rooms (passive)"

    def made_by(self) -> dict[str, Any]:
        made_by: dict[str, Any] = {
            "version": WORLD_VERSION[self.world],
            "world": self.world,
            "size": [self.window.height, self.window.width],
            "num_frames": self.num_frames,
            "disturbances": asdict(self.disturbances),
        }
        if self.papers:
            made_by["papers"] = _sha256(Path(self.papers))
        return made_by

    def maker(self) -> Callable[[int], None]:
        size = (self.window.height, self.window.width)
        how = (self.world, self.num_frames, size, self.disturbances, self.papers)
        return partial(make_recording, self.folder, *how)

    def seeds(self, split: str) -> list[int]:
        """Room seeds of a split."""
        first, count = self.first_train if split == "train" else 0, self.counts[split]
        if self.world == "robot":
            return [seed_of(split, first + k) for k in range(count)]
        if not 0 <= first <= 8_000_000 - count:
            raise ValueError(
                f"Expected first_train from 0 to {8_000_000 - count:,} in passive rooms, got "
                f"{first}."
            )
        offset = {"train": first, "val": 8_000_000, "test": 9_000_000}[split]
        return [seed_of("passive", offset + k) for k in range(count)]

    def place(self, clip_name: str) -> tuple[Room, np.ndarray]:
        """The room of a clip, and where its last context frame was seen from: x, y, yaw (3,) in
        metres and radians."""
        folder, first = self.shared(clip_name)
        room = Room(int(folder.name.removeprefix("room_")), self.world, self.papers)
        return room, read_labels(folder)["cameras"][first][[0, 1, 3]].astype(float)

    def geometry(self, clip_name: str) -> Geometry:
        """Depth, pose and intrinsics of the frames of a clip, of which a robot room is seen anew.

        Args:
            clip_name: Episode and first frame, as clips carry it.
        """
        if self.world != "robot":
            raise ValueError(f"{self.source}: expected world robot, whose cameras are all alike.")
        folder, last = self.shared(clip_name)
        first = last - (self.window.context - 1) * self.window.stride
        seen = _seen(folder)
        shown = slice(first, first + self.window.span, self.window.stride)
        return Geometry(seen.depth[shown], seen.pose[shown], seen.intrinsics)

    def episode(self, name: str, folder: Path) -> Episode:
        labels = read_labels(folder)
        none = np.zeros_like(labels["realised"])
        actions = none if self.actions == "none" else labels[self.actions]
        return Episode(name, self.num_frames, partial(read_frames, folder), actions)


@lru_cache(maxsize=512)
def _seen(folder: Path) -> Geometry:
    """Geometry of a whole episode."""
    return look(int(folder.name.removeprefix("room_")), read_labels(folder)["cameras"])


def _sha256(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.glob("*") if p.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
