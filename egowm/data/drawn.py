"""Data sets that an embedded world draws: on first use, cached, the same on every machine."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from egowm.data.episode import Episode
from egowm.data.module import ClipData
from egowm.paths import expanded, inside
from egowm.worlds.recording import structures
from egowm.worlds.store import make_recordings, read_ids


class Drawn(ClipData):
    """Episodes named by what was drawn and its seed, such as room_20000000.

    A world gives `prefix`, `seeds`, `made_by`, `maker` and `episode`; the rest is here.
    """

    prefix: str  # of an episode's name
    counts: dict[str, int]  # episodes of each split

    @abstractmethod
    def seeds(self, split: str) -> list[int]:
        """Seeds of a split."""

    @abstractmethod
    def made_by(self) -> dict[str, Any]:
        """Everything that decides what is drawn for a seed."""

    @abstractmethod
    def maker(self) -> Callable[[int], None]:
        """What draws a seed's episode into `folder`."""

    @abstractmethod
    def episode(self, name: str, folder: Path) -> Episode:
        """One that is drawn."""

    @property
    def folder(self) -> Path:
        """The folder of these episodes; its name depends on everything that made them."""
        key = hashlib.sha256(json.dumps(self.made_by(), sort_keys=True).encode()).hexdigest()[:12]
        return expanded(self.root) / f"{self.made_by()['world']}-{key}"

    def prepare_data(self) -> None:
        """Make what is missing."""
        for split in self.counts:
            self._make(split)

    def episodes(self, split: str) -> list[Episode]:
        self._make(split)
        names = [f"{self.prefix}_{seed}" for seed in self.seeds(split)]
        return [self.episode(name, self.folder / name) for name in names]

    def annotation(self, clip_name: str) -> np.ndarray:
        """Scored structures of a clip's last context frame, which truth and prediction share:
        (H, W) uint8, 0 background, ids from 1."""
        ids = read_ids(*self.shared(clip_name))
        out = np.zeros(ids.shape, np.uint8)
        for number, value in enumerate(structures(ids), start=1):
            out[ids == value] = number
        return out

    def shared(self, clip_name: str) -> tuple[Path, int]:
        """The folder of a clip's episode, and its frame that is the clip's last context frame."""
        name, start = clip_name.rsplit("_", 1)
        folder = inside(self.folder, name, "the clips' names")
        return folder, int(start) + (self.window.context - 1) * self.window.stride

    def _make(self, split: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        seeds = self.seeds(split)
        missing = [s for s in seeds if not (self.folder / f"{self.prefix}_{s}").is_dir()]
        if missing:
            made = make_recordings(self.maker(), missing)
            for _ in tqdm(made, f"drawing {split} {self.prefix}s", len(missing), unit=self.prefix):
                pass
