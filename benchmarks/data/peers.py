"""How the same clips are read without egowm: the plain torch Datasets that people write.

Each gives frames (T, 3, H, W) uint8 and actions of the same windows. Files stay open between clips
where a worker may keep them open.
"""

from collections.abc import Callable
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


class Reader(NamedTuple):
    """Who reads what: `clips` are the chosen ones, `files` what lies behind them."""

    name: str
    form: str
    clips: Dataset[Any]
    files: list[Path]


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class Plain(Dataset[Item]):
    """Frames (span, 3, size, size) uint8 by `read(episode, first)`, and the actions between."""

    def __init__(self, chosen: Chosen, read: Callable[[int, int], Tensor]) -> None:
        self.chosen, self.read = chosen, read
        self.actions = [torch.from_numpy(np.diff(r.poses, axis=0)).float() for r in chosen.made]

    def __len__(self) -> int:
        return len(self.chosen.starts)

    def __getitem__(self, item: int) -> Item:
        number, start = self.chosen.starts[item]
        actions = self.actions[number][start : start + self.chosen.span - 1]
        return self.read(number, start), actions


def plain_readers(folder: Path, chosen: Chosen) -> list[Reader]:
    """Of the folders `pictures` and `videos`, and of arrays that are made once, as a pack is."""
    made, _, span, size = chosen
    names = [recording.name for recording in made]
    offsets = np.cumsum([0, *(len(recording.frames) for recording in made)]).tolist()
    arrays = folder / f"arrays_{size}.h5"
    with h5py.File(arrays, "w") as out:
        resized = [small(r.frames, size).permute(0, 2, 3, 1).numpy() for r in made]
        out["frames"] = np.concatenate(resized)
    held = h5py.File(arrays, "r")["frames"]

    def pictures(number: int, start: int) -> Tensor:
        frames = []
        for k in range(start, start + span):
            with Image.open(folder / "pictures" / names[number] / f"{k}.jpg") as picture:
                frames.append(np.asarray(picture.convert("RGB")))
        return small(np.stack(frames), size)

    def videos(number: int, start: int) -> Tensor:
        reader = _video(str(folder / f"videos/{names[number]}.mp4"))
        batch = reader.get_batch(range(start, start + span))
        return small(batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch), size)

    def stored(number: int, start: int) -> Tensor:
        first = offsets[number] + start
        return torch.from_numpy(held[first : first + span]).permute(0, 3, 1, 2).contiguous()

    files = {name: files_in(folder / name) for name in ("pictures", "videos")}
    return [
        Reader("plain, PIL", "JPEG", Plain(chosen, pictures), files["pictures"]),
        Reader("plain, decord", "mp4", Plain(chosen, videos), files["videos"]),
        Reader("plain, h5py", "uint8 in HDF5", Plain(chosen, stored), [arrays]),
    ]


def small(frames: np.ndarray, size: int) -> Tensor:
    """Frames (T, S, S, 3) as (T, 3, size, size)."""
    if frames.shape[1] != size:
        shape = (size, size)
        frames = np.stack([cv2.resize(f, shape, interpolation=cv2.INTER_AREA) for f in frames])
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


@lru_cache(maxsize=8)
def _video(file: str) -> Any:
    import decord

    return decord.VideoReader(file, num_threads=1)
