"""How the same clips are read without egowm: the plain torch Datasets that people write.

Each gives frames (T, 3, H, W) uint8 and actions of the same windows. Files stay open between clips
where a worker may keep them open.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks.data.forms import Recording

Item = tuple[Tensor, Tensor]


class Chosen(NamedTuple):
    """Which clips: of these episodes, from (episode, first frame) on, `span` frames of a size."""

    made: list[Recording]
    starts: list[tuple[int, int]]
    span: int
    size: int


class Plain(Dataset[Item]):
    """Frames by `read(episode, first frame)`, and the actions between them."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.actions = [torch.from_numpy(np.diff(r.poses, axis=0)).float() for r in chosen.made]

    def __len__(self) -> int:
        return len(self.chosen.starts)

    def __getitem__(self, item: int) -> Item:
        number, start = self.chosen.starts[item]
        actions = self.actions[number][start : start + self.chosen.span - 1]
        return self.read(number, start), actions

    def read(self, number: int, start: int) -> Tensor:
        """(span, 3, size, size) uint8."""
        raise NotImplementedError


class PlainVideos(Plain):
    """decord, whose readers stay open; each frame made small by cv2."""

    def __init__(self, root: Path, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.files = [str(root / f"{recording.name}.mp4") for recording in chosen.made]

    def read(self, number: int, start: int) -> Tensor:
        wanted = range(start, start + self.chosen.span)
        batch = _reader(self.files[number]).get_batch(wanted)
        frames = batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)
        return small(frames, self.chosen.size)


class PlainPictures(Plain):
    """PIL, one JPEG file a frame."""

    def __init__(self, root: Path, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.folders = [root / recording.name for recording in chosen.made]

    def read(self, number: int, start: int) -> Tensor:
        frames = []
        for k in range(start, start + self.chosen.span):
            with Image.open(self.folders[number] / f"{k}.jpg") as picture:
                frames.append(np.asarray(picture.convert("RGB")))
        return small(np.stack(frames), self.chosen.size)


class PlainArrays(Plain):
    """h5py, frames (N, H, W, 3) of one size in one file that stays open."""

    def __init__(self, file: Path, chosen: Chosen) -> None:
        super().__init__(chosen)
        self.file = file
        self.offsets = np.cumsum([0, *(len(r.frames) for r in chosen.made)])
        self.opened: Any = None  # in the worker

    def read(self, number: int, start: int) -> Tensor:
        if self.opened is None:
            self.opened = h5py.File(self.file, "r")["frames"]
        first = int(self.offsets[number]) + start
        frames = torch.from_numpy(self.opened[first : first + self.chosen.span])
        return frames.permute(0, 3, 1, 2).contiguous()


def write_arrays(root: Path, made: list[Recording], size: int) -> Path:
    """What `PlainArrays` reads, made by it once, as a pack is."""
    root.mkdir(parents=True, exist_ok=True)
    frames = [small(recording.frames, size).permute(0, 2, 3, 1).numpy() for recording in made]
    with h5py.File(root / f"arrays_{size}.h5", "w") as out:
        out["frames"] = np.concatenate(frames)
    return root / f"arrays_{size}.h5"


def small(frames: np.ndarray, size: int) -> Tensor:
    """Frames (T, S, S, 3) as (T, 3, size, size)."""
    if frames.shape[1] != size:
        shape = (size, size)
        frames = np.stack([cv2.resize(f, shape, interpolation=cv2.INTER_AREA) for f in frames])
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


@lru_cache(maxsize=8)
def _reader(file: str) -> Any:
    import decord

    return decord.VideoReader(file, num_threads=1)
