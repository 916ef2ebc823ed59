"""1X's humanoid, raw release 2.0: 25 states of the body and a head camera at 30 Hz.

Training data lie in shards `train_v2.0_raw/{videos/video_R.mp4, robot_states/states_R.bin,
segment_indices/segment_idx_R.bin, metadata/metadata_R.json, metadata.json}`; `val_v2.0_raw` is one
flat shard: `video_0.mp4, states_0.bin, segment_idx_0.bin, metadata_0.json`. States are float32
(N, 25), segment ids int32 (N,). CC-BY-NC-SA.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from egowm.actions import ActionSpec
from egowm.actions.humanoid_states import NAMES, UNITS
from egowm.checks import counted
from egowm.data.episode import Episode, read_all
from egowm.data.module import Window
from egowm.data.public_recordings import missing
from egowm.data.recordings import NamedRecordings
from egowm.data.text import bad, text_of
from egowm.video import read_frames

TRAIN, VAL = "train_v2.0_raw", "val_v2.0_raw"


@dataclass(frozen=True)
class Shard:
    """The files of one shard."""

    name: str
    video: Path
    states: Path
    segments: Path
    metadata: Path


class OneX(NamedRecordings):
    """The humanoid's release; an episode is one segment of one shard.

    Actions are differences of states: the default window's stride of 6 gives 5 Hz, and actions
    `state[t + 6] - state[t]`, as in EgoWM. The release's own validation folder is the test split.
    That a video holds as many frames as its labels is found when a clip beyond its end is read:
    counting means to read the whole file.

    >>> data = OneX("1x")
    >>> data.meaning.width, data.clip_meaning.rate_hz
    (25, 5.0)

    Args:
        root: Folder that holds `train_v2.0_raw` and `val_v2.0_raw`.

    Raises:
        FileNotFoundError: Missing folders.
        ValueError: A corrupt shard.
    """

    meaning = ActionSpec(NAMES, UNITS, frame="joint", kind="difference", rate_hz=30.0)
    state_meaning = replace(meaning, kind="command")

    def __init__(self, root: str, window: Window = Window(stride=6), **rest: Any) -> None:
        super().__init__(
            root, window, train_names=None, test_names=None, test_share=0, latency_frames=0, **rest
        )

    def episodes(self, split: str) -> list[Episode]:
        shards = self._shards(test=split == "test")
        title = f"OneX: reading {split} labels"
        read = read_all(title, shards, lambda name: read_shard(shards[name]), self.leave_out)
        segments = {episode.name: episode for shard in read for episode in shard}
        if split == "test":
            return list(segments.values())
        return [segments[name] for name in self.splits.of(split, segments, self.folder)]

    def _shards(self, test: bool) -> dict[str, Shard]:
        """The shards of the training or of the validation folder; some may not be downloaded."""
        folder = self.folder / (VAL if test else TRAIN)
        if not folder.is_dir():
            raise missing(
                "OneX",
                self.folder,
                f"no folder {folder}; pass --data.root PATH, the folder that holds {TRAIN} and "
                f"{VAL}.",
            )
        files = folder.glob("states_*.bin" if test else "robot_states/states_*.bin")
        numbers = sorted(int(n) for f in files if (n := f.stem.removeprefix("states_")).isdigit())
        if not numbers:
            where = folder if test else folder / "robot_states"
            looked = f"looked for {where}/states_0.bin ... and found none."
            raise missing("OneX", self.folder, looked)
        shards = [shard_of(folder, number, test) for number in numbers]
        return {shard.name: shard for shard in shards}


def shard_of(folder: Path, number: int, test: bool) -> Shard:
    """The files of shard `number`: in folders of their own for training, else side by side."""
    kinds = ("videos", "robot_states", "segment_indices", "metadata")
    videos, states, segments, metadata = (folder if test else folder / kind for kind in kinds)
    return Shard(
        f"{'val' if test else 'train'}_{number}",
        videos / f"video_{number}.mp4",
        states / f"states_{number}.bin",
        segments / f"segment_idx_{number}.bin",
        metadata / f"metadata_{number}.json",
    )


def read_shard(shard: Shard) -> list[Episode]:
    """Its segments, each named by shard and first frame; ValueError names the file that is wrong.

    A segment ends where the id changes, also where an earlier id comes back.
    """
    if not shard.video.is_file():
        raise bad(shard.video, "the file is missing")
    states = _numbers(shard.states, "<f4", len(NAMES))
    ids = _numbers(shard.segments, "<i4", 1)[:, 0]
    if len(ids) != len(states):
        found = f"{counted(len(ids), 'segment id')} for {counted(len(states), 'state')}"
        raise bad(shard.segments, found)
    length = _num_frames(shard.metadata)
    if length != len(states):
        found, said = counted(len(states), "state"), counted(length, "frame")
        raise bad(shard.states, f"{found}, {shard.metadata.name} says {said}")
    if len(wrong := np.argwhere(~np.isfinite(states))):
        row, column = wrong[0]
        raise bad(shard.states, f"state {row}, {NAMES[column]}, is not a finite number")
    changes = (np.flatnonzero(np.diff(ids)) + 1).tolist()
    bounds = pairwise([0, *changes, len(ids)])
    return [_segment(shard, states[first:end], first) for first, end in bounds]


def read_segment(video: Path, first: int, indices: Sequence[int]) -> np.ndarray:
    """Frames `(n, H, W, 3)` of the segment that begins at frame `first` of a video."""
    return read_frames(video, [first + k for k in indices])


def _segment(shard: Shard, states: np.ndarray, first: int) -> Episode:
    actions = np.diff(states.astype(np.float64), axis=0).astype(np.float32)
    read = partial(read_segment, shard.video, first)
    return Episode(f"{shard.name}_{first:06d}", len(states), read, actions, states)


def _numbers(file: Path, dtype: str, width: int) -> np.ndarray:
    """A file of bare numbers as (N, width), N at least 1."""
    if not file.is_file():
        raise bad(file, "the file is missing")
    row, size = width * np.dtype(dtype).itemsize, file.stat().st_size
    if size % row or not size:
        raise bad(file, f"expected a multiple of {row} bytes ({width} x {dtype[1:]}), got {size}")
    return np.fromfile(file, dtype).reshape(-1, width)


def _num_frames(file: Path) -> int:
    try:
        return int(json.loads(text_of(file))["shard_num_frames"])
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise bad(file, f"expected JSON with shard_num_frames ({error!r})") from error
