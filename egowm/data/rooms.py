"""The embedded rooms as a data set: made on first use, cached, the same on every machine."""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from egowm.data.episode import Episode
from egowm.data.module import ClipData, Window
from egowm.data.normalisers import WHEELED
from egowm.paths import expanded, inside
from egowm.worlds.motion import Disturbances
from egowm.worlds.recording import seed_of, structures
from egowm.worlds.rooms import Room
from egowm.worlds.store import (
    WORLD_VERSION,
    make_recording,
    make_recordings,
    read_frames,
    read_ids,
    read_labels,
)


class Rooms(ClipData):
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
        num_frames: Frames of each episode.
        actions: "realised" (as odometry reports), "commanded" or "none" (zeros: video without
            actions).
        disturbances: Flaws of real recordings: slip, jitter, blur, exposure.
        papers: Folder of pictures whose luminance takes the place of the walls' texture.
    """

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
        num_frames: int = 33,
        actions: Literal["realised", "commanded", "none"] = "realised",
        disturbances: Disturbances = Disturbances(),
        papers: str = "",
        **rest: Any,
    ) -> None:
        super().__init__(root, window, batch_size, latency_frames=0, **rest)
        self.world, self.num_frames = world, num_frames
        self.counts = {"train": episodes_train, "val": episodes_val, "test": episodes_test}
        self.actions, self.disturbances, self.papers = actions, disturbances, papers

    @property
    def source(self) -> str:
        return "Rooms" if self.world == "robot" else "Rooms (passive)"

    @property
    def folder(self) -> Path:
        """The folder of these episodes; its name depends on everything that made them."""
        made_by: dict[str, Any] = {
            "version": WORLD_VERSION[self.world],
            "world": self.world,
            "size": [self.window.height, self.window.width],
            "num_frames": self.num_frames,
            "disturbances": asdict(self.disturbances),
        }
        if self.papers:
            made_by["papers"] = _sha256(Path(self.papers))
        key = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:12]
        return expanded(self.root) / f"{self.world}-{key}"

    def prepare_data(self) -> None:
        """Make what is missing."""
        for split in self.counts:
            self._make(split)

    def episodes(self, split: str) -> list[Episode]:
        self._make(split)
        return [self._episode(split, k) for k in range(self.counts[split])]

    def seeds(self, split: str) -> list[int]:
        """Room seeds of a split."""
        count = self.counts[split]
        if self.world == "robot":
            return [seed_of(split, k) for k in range(count)]
        offset = {"train": 0, "val": 8_000_000, "test": 9_000_000}[split]
        return [seed_of("passive", offset + k) for k in range(count)]

    def annotation(self, clip_name: str) -> np.ndarray:
        """Scored structures of a clip's last context frame, which truth and prediction share:
        (H, W) uint8, 0 background, ids from 1."""
        episode, start = clip_name.rsplit("_", 1)
        shared = int(start) + (self.window.context - 1) * self.window.stride
        ids = read_ids(inside(self.folder, episode, "the clips' names"), shared)
        out = np.zeros(ids.shape, np.uint8)
        for number, value in enumerate(structures(ids), start=1):
            out[ids == value] = number
        return out

    def place(self, clip_name: str) -> tuple[Room, np.ndarray]:
        """The room of a clip, and where its last context frame was seen from: x, y, yaw (3,) in
        metres and radians."""
        episode, start = clip_name.rsplit("_", 1)
        shared = int(start) + (self.window.context - 1) * self.window.stride
        labels = read_labels(inside(self.folder, episode, "the clips' names"))
        room = Room(int(episode.removeprefix("room_")), self.world, self.papers)
        return room, labels["cameras"][shared][[0, 1, 3]].astype(float)

    def _episode(self, split: str, number: int) -> Episode:
        name = f"room_{self.seeds(split)[number]}"
        folder = self.folder / name
        labels = read_labels(folder)
        none = np.zeros_like(labels["realised"])
        actions = none if self.actions == "none" else labels[self.actions]
        return Episode(name, self.num_frames, partial(read_frames, folder), actions)

    def _make(self, split: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [s for s in self.seeds(split) if not (self.folder / f"room_{s}").is_dir()]
        size = (self.window.height, self.window.width)
        how = (self.world, self.num_frames, size, self.disturbances, self.papers)
        made = make_recordings(partial(make_recording, self.folder, *how), missing)
        if missing:
            for _ in tqdm(made, f"drawing {split} rooms", len(missing), unit="room"):
                pass


def _sha256(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.glob("*") if p.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
