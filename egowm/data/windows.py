"""Windows: how clips are cut out of episodes, and all clips of some episodes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from egowm.actions import ActionSpec, compose
from egowm.clip import NONE, Clip, Encodings
from egowm.data.episode import Episode
from egowm.data.reading import Wanted, read_batch, read_planes


@dataclass(frozen=True)
class Window:
    """Cut of a clip out of an episode, and the size of its frames.

    >>> Window(context=2, horizon=8, stride=4).span  # native frames: 9 steps of 4, and the first
    37

    Args:
        context: Clean frames given to the model (K), at least 1.
        horizon: Future frames to be predicted (T), at least 1.
        stride: Distance between two frames of a clip, in native frames; 1 takes every frame.
        height: Height of the resized frames in pixels.
        width: Width of the resized frames in pixels.

    Raises:
        ValueError: A value below 1.
    """

    context: int = 1
    horizon: int = 8
    stride: int = 1
    height: int = 512
    width: int = 512

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if isinstance(size, bool) or not isinstance(size, Integral):
                raise ValueError(f"A window's {name} is a positive whole number, got {size!r}.")
        if min(self.context, self.horizon, self.stride, self.height, self.width) < 1:
            raise ValueError(f"A window's sizes are positive numbers, got {self}.")

    @property
    def span(self) -> int:
        """Native frames from the first to the last frame of a clip, both counted."""
        return (self.context + self.horizon - 1) * self.stride + 1


class KnownClips(Protocol):
    """Reads cached encodings of a clip instead of its frames: `egowm.training.latents.cache`."""

    def read(self, number: int, start: int) -> tuple[torch.Tensor, Encodings]: ...


class Cache(Protocol):
    """A source of cached clips."""

    def of(self, windows: "Windows") -> KnownClips: ...


class Windows(Dataset[Clip]):
    """All windows of some episodes: every start for training, non-overlapping ones for tests.

    step: native frames from one start to the next. known: where set, the source of cached
    encodings that clips hold in place of their frames.
    """

    known: KnownClips | None = None

    def __init__(
        self, episodes: list[Episode], window: Window, source: str, spec: ActionSpec, tiled: bool
    ) -> None:
        self.episodes, self.window, self.source, self.spec = episodes, window, source, spec
        self.step = window.span if tiled else 1
        starts = [np.arange(0, e.num_frames - window.span + 1, self.step) for e in episodes]
        numbers = np.repeat(np.arange(len(episodes)), [len(row) for row in starts])
        firsts = np.concatenate([np.zeros(0, np.int64), *starts])
        self.index = np.stack([numbers, firsts], 1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Clip:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[Clip]:
        """The clips of a batch, whose frames lie beside each other: see `collate`."""
        w, places = self.window, self.index[list(items)].tolist()
        wanted = [
            Wanted(number, self.episodes[number], range(start, start + w.span, w.stride))
            for number, start in places
        ]
        if self.known is None:
            pixels = [(frames, Encodings()) for frames in read_batch(wanted, w.height, w.width)]
        else:
            pixels = [self.known.read(number, start) for number, start in places]
        return [self._clip(k, *own) for k, own in zip(wanted, pixels, strict=True)]

    def _clip(self, wanted: Wanted, frames: Tensor, known: Encodings) -> Clip:
        """A clip of these frames, or of their cached encodings."""
        episode, w, start = wanted.episode, self.window, wanted.indices[0]
        actions = episode.actions[start : start + w.span - 1]
        steps = torch.from_numpy(compose(actions, w.stride, self.spec.kind))
        last = start + (w.context - 1) * w.stride
        states = torch.as_tensor(episode.states[last : start + w.span : w.stride])
        state, later = (states[0], states[1:]) if states.numel() else (torch.zeros(0), NONE)
        return Clip(
            frames,
            steps[w.context - 1 :],
            steps[: w.context - 1],
            state.float(),
            episode.text,
            self.source,
            f"{episode.name}_{start:05d}",
            later.float(),
            known,
        )

    def pictures(self, number: int, indices: Sequence[int]) -> torch.Tensor:
        """Frames (n, 3, H, W) uint8 of an episode, at the window's size."""
        w = self.window
        frames = torch.empty((len(indices), 3, w.height, w.width), dtype=torch.uint8)
        read_planes(self.episodes[number], indices, frames.numpy())
        return frames

    @property
    def parts(self) -> list["Windows"]:
        """The windows of each source."""
        return [self]
