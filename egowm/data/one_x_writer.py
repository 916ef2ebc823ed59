"""Recordings as 1X's raw release 2.0 lays them out, which `OneX` reads."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from egowm.checks import ArgumentError, check_shape, check_whole, checked
from egowm.data.one_x import NAMES, TRAIN, VAL, OneX, Shard, shard_of
from egowm.data.recording_writer import RecordingWriter, in_step
from egowm.files import FolderKind
from egowm.video_encoder import VideoFile, check_frames

RATE_HZ = OneX.meaning.rate_hz
WRITTEN = FolderKind(
    "egowm.data.OneXWriter",
    rf"({TRAIN}|{VAL})/(\w+/)?\w+\.(mp4|bin|json)".replace(".0", r"\.0"),
    forced="force=True",
)


@checked
class OneXWriter(RecordingWriter):
    """Write a humanoid's segments as shards of video and states, at 30 Hz.

    The folder appears when the `with` block ends without an error. Videos are H.264 at a constant
    rate, with a key frame at the start of each segment; docs/data.md says how close frames come
    back.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     with OneXWriter(f"{root}/1x") as writer:
    ...         states = np.zeros((13, 25), np.float32)
    ...         writer.add(np.zeros((13, 32, 32, 3), np.uint8), states)
    ...     episodes = OneX(f"{root}/1x", val_share=0).split("train")
    ...     [(episode.name, episode.num_frames) for episode in episodes]
    [('train_0_000000', 13)]

    Args:
        root: Folder to write, which will hold `train_v2.0_raw` and `val_v2.0_raw`.
        frames_per_shard: A segment that would take a training shard beyond it begins the next one;
            a longer segment has a shard of its own. Validation is one shard.
        force: Replace what this writer wrote there before.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: frames_per_shard below 1; at the end of the block, nothing was added.
    """

    def __init__(
        self, root: str | Path, frames_per_shard: int = 18_000, force: bool = False
    ) -> None:
        check_whole("frames_per_shard", frames_per_shard, 1, 2**31)
        self.frames_per_shard = frames_per_shard
        self._shards: dict[str, list[_OpenShard]] = {}  # of each split; all but the last are closed
        self._num_segments = 0
        self._shape: tuple[int, ...] = ()
        super().__init__(root, WRITTEN, force)

    def add(
        self,
        frames: np.ndarray | Iterable[np.ndarray],
        states: np.ndarray,
        split: Literal["train", "val"] = "train",
    ) -> None:
        """Append one segment.

        Args:
            frames: One for each state, (N, H, W, 3) uint8 RGB, or an iterator of frames (H, W, 3),
                of which one at a time is in memory. Height and width are even, and the same for all
                segments.
            states: Joints, hands and velocities (N, 25) float32, as `OneX.meaning` names them.
            split: "val" goes to the release's validation folder, `OneX`'s test split.

        Raises:
            ValueError: Another shape or type, a number that is not finite. Nothing is lost, except
                where an iterator of frames ends early: that ends the writer.
        """
        _check_states(states)
        check_frames(frames, len(states), self._shape)
        with self._adding() as place:
            shard = self._shard(place, split, len(states))
            shard.add(frames, states, self._num_segments)
            self._num_segments += 1
            self._shape = shard.video.shape

    def _shard(self, place: Path, split: str, count: int) -> "_OpenShard":
        """The shard that takes the next segment."""
        shards, test = self._shards.setdefault(split, []), split == "val"
        full = shards and shards[-1].num_frames + count > self.frames_per_shard and not test
        if not shards or full:
            for shard in shards[-1:]:
                shard.close()
            folder = place / (VAL if test else TRAIN)
            files = shard_of(folder, len(shards), test)
            shards.append(_OpenShard(files, len(shards), self._shape))
        return shards[-1]

    def _finish(self) -> None:
        if not self._shards or self._place is None:
            raise ValueError(f"{self.folder}: no segment was added, so nothing is written.")
        self._close()
        for split, shards in self._shards.items():
            told = {"num_shards": len(shards), "hz": int(RATE_HZ)}
            folder = self._place / (VAL if split == "val" else TRAIN)
            (folder / "metadata.json").write_text(json.dumps(told), encoding="utf-8")

    def _close(self) -> None:
        for shards in self._shards.values():
            for shard in shards:
                shard.close()


class _OpenShard:
    """The files of a shard, which take its segments."""

    def __init__(self, files: Shard, number: int, shape: tuple[int, ...]) -> None:
        self.files, self.number, self.num_frames = files, number, 0
        self.video = VideoFile(files.video, RATE_HZ, shape)
        for file in (files.states, files.segments, files.metadata):
            file.parent.mkdir(parents=True, exist_ok=True)

    def add(self, frames: Iterable[np.ndarray], states: np.ndarray, segment: int) -> None:
        for k, shown in enumerate(in_step({"the video": frames}, len(states))):
            self.video.add(shown["the video"], key=k == 0)
        self.num_frames += len(states)
        ids = np.full(len(states), segment, "<i4")
        for file, numbers in (
            (self.files.states, states.astype("<f4")),
            (self.files.segments, ids),
        ):
            with file.open("ab") as stream:
                stream.write(numbers.tobytes())

    def close(self) -> None:
        self.video.close()
        told = {"shard_ind": self.number, "shard_num_frames": self.num_frames}
        self.files.metadata.write_text(json.dumps(told), encoding="utf-8")


def _check_states(states: np.ndarray) -> None:
    check_shape("states", states, "N A", A=len(NAMES))
    if states.dtype != np.float32:
        raise ArgumentError(
            f"Expected states of float32, got {states.dtype}: convert them, "
            f"states.astype(np.float32)."
        )
    if len(wrong := np.argwhere(~np.isfinite(states))):
        row, column = wrong[0]
        raise ArgumentError(
            f"Expected finite states, got {states[row, column]} in row {row}, {NAMES[column]}."
        )
