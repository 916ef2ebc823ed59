"""One recording of a robot, read lazily."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from egowm.checks import counted

Labels = TypeVar("Labels")
BATCH = 32  # frames in memory at once
MOST_ERRORS = 10  # that are listed, beyond which reading stops


def _no_states() -> np.ndarray:
    return np.zeros((0, 0), np.float32)


def _no_times() -> np.ndarray:
    return np.zeros(0, np.float64)


@dataclass(frozen=True)
class Episode:
    """Frames behind a reader, and the labels in memory.

    >>> read = lambda indices: np.zeros((len(indices), 64, 64, 3), np.uint8)
    >>> episode = Episode("run_1", 5, read, np.float32([[1], [2], [3], [4]]))
    >>> later = episode.delayed(2)  # the command that moves a frame was given 2 frames before
    >>> later.num_frames, later.actions[:, 0].tolist()
    (3, [1.0, 2.0])

    Args:
        name: Unique within its data set.
        num_frames: Number of frames (N).
        read: Indices -> (n, H, W, 3) uint8 RGB; picklable, opens its file inside the call.
        actions: (N-1, A) float32 at the native rate; actions[k] takes frame k to frame k+1.
        states: (N, S) float32, or empty.
        text: An instruction, or "".
        times: (N,) float64 seconds of the frames, or empty where the format carries none.
        video: The file that holds these N frames and no others, if there is one.
        read_planes: For frames that lie on disk as clips want them: fills (n, 3, H, W) of their
            size.
    """

    name: str
    num_frames: int
    read: Callable[[Sequence[int]], np.ndarray]
    actions: np.ndarray
    states: np.ndarray = field(default_factory=_no_states)
    text: str = ""
    times: np.ndarray = field(default_factory=_no_times)
    video: Path | None = None
    read_planes: Callable[[Sequence[int], np.ndarray], None] | None = None

    def __post_init__(self) -> None:
        frames = self.num_frames
        for name, count, why in (
            ("actions", frames - 1, f" for {counted(frames, 'frame')}"),
            ("states", frames, ", one for each frame"),
            ("times", frames, ", one for each frame"),
        ):
            got = len(values := getattr(self, name))
            if got != count and (values.size or name == "actions"):
                raise ValueError(f"Episode {self.name}: expected {count} {name}{why}, got {got}.")
        for name in ("action", "state", "time"):
            values = getattr(self, f"{name}s")
            rows = values.reshape(len(values), values.size // max(1, len(values)))
            bad = np.argwhere(~np.isfinite(rows))
            if len(bad):
                raise ValueError(
                    f"Episode {self.name}: {name} {bad[0][0]}, dimension {bad[0][1]} is not a "
                    f"finite number. Repair the recording or leave the episode out."
                )

    def batches(self) -> Iterator[np.ndarray]:
        """All frames in order, a few (n, H, W, 3) at a time."""
        return map(self.read, self.spans())

    def spans(self) -> Iterator[range]:
        """The numbers of all frames, as many at a time as are in memory at once."""
        for start in range(0, self.num_frames, BATCH):
            yield range(start, min(start + BATCH, self.num_frames))

    def part(self, first: int, end: int) -> "Episode":
        """Frames `first` to before `end`, at least one, as an episode of their own."""
        return replace(
            self,
            name=f"{self.name}_{first:05d}",
            num_frames=end - first,
            read=partial(_read_later, self.read, first),
            read_planes=None,
            actions=self.actions[first : end - 1],
            states=self.states[first:end],
            times=self.times[first:end],
            video=None,
        )

    def delayed(self, latency_frames: int) -> "Episode":
        """The episode with every command moved to the frame that it moves, `latency_frames` later.

        Action k becomes the command recorded that many frames before frame k; the first frames,
        whose commands were given before the recording began, are left out.
        """
        late = latency_frames
        if late == 0:
            return self
        if late < 0 or late >= self.num_frames - 1:
            raise ValueError(
                f"Episode {self.name}: expected latency_frames from 0 to {self.num_frames - 2} "
                f"for {counted(self.num_frames, 'frame')}, got {late}."
            )
        return replace(
            self,
            num_frames=self.num_frames - late,
            read=partial(_read_later, self.read, late),
            read_planes=None,
            actions=self.actions[: len(self.actions) - late],
            states=self.states[late:],
            times=self.times[late:],
            video=None,
        )


def _read_later(
    read: Callable[[Sequence[int]], np.ndarray], late: int, indices: Sequence[int]
) -> np.ndarray:
    return read([late + k for k in indices])


def read_all(
    title: str,
    names: Collection[str],
    read: Callable[[str], Labels],
    leave_out: Callable[[Exception], object] | None,
) -> list[Labels]:
    """The labels of the recordings of these names.

    Args:
        title: Text of the progress bar, which comes with many.
        names: Names of recordings.
        read: Reads one; a ValueError says that it is corrupt, a FileNotFoundError what it lacks.
        leave_out: Takes these errors; without it they stop everything, all in one error.
    """
    labels: list[Labels] = []
    errors: list[Exception] = []
    for name in tqdm(names, desc=title, disable=len(names) < 50):
        try:
            labels.append(read(name))
        except (ValueError, FileNotFoundError) as error:
            if leave_out is not None:
                leave_out(error)
            elif len(errors := [*errors, error]) == MOST_ERRORS:
                break
    if errors:
        raise _together(errors)
    return labels


def _together(errors: Sequence[Exception]) -> Exception:
    """One error for those of several recordings; a mistake in all of them is said once."""
    texts = list(dict.fromkeys(map(str, errors)))
    if len(texts) == 1:
        return errors[0]
    missing = all(isinstance(error, FileNotFoundError) for error in errors)
    kind = FileNotFoundError if missing else ValueError
    more = " or more" if len(errors) == MOST_ERRORS else ""
    unread = f"{len(texts)}{more} recordings" if more else counted(len(texts), "recording")
    return kind(f"{unread} cannot be read: {' | '.join(texts)}")
