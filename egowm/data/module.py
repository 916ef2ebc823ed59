"""Clips out of episodes: windows, splits, loaders. One subclass per format, one file each."""

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from egowm.actions import ActionSpec, compose
from egowm.clip import Clip, Encodings
from egowm.data.episode import Episode
from egowm.data.loader import Order, RandomBatches, TrainingLoader
from egowm.data.reading import Wanted, collate, read_batch, read_planes


@dataclass(frozen=True)
class Window:
    """Cut of a clip out of an episode, and the size of its frames.

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

    step: native frames from one start to the next. known: where set, clips come with what it
    knows of them in place of their frames.
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
            found = [(frames, Encodings()) for frames in read_batch(wanted, w.height, w.width)]
        else:
            found = [self.known.read(number, start) for number, start in places]
        return [self._clip(k, *own) for k, own in zip(wanted, found, strict=True)]

    def _clip(self, wanted: Wanted, frames: Tensor, known: Encodings) -> Clip:
        """A clip of these frames, or of what is known of them."""
        episode, w, start = wanted.episode, self.window, wanted.indices[0]
        actions = episode.actions[start : start + w.span - 1]
        steps = torch.from_numpy(compose(actions, w.stride, self.spec.kind))
        last = start + (w.context - 1) * w.stride
        state = episode.states[last] if episode.states.size else np.zeros(0, np.float32)
        return Clip(
            frames,
            steps[w.context - 1 :],
            steps[: w.context - 1],
            torch.as_tensor(state, dtype=torch.float32),
            episode.text,
            self.source,
            f"{episode.name}_{start:05d}",
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
        """Those of each source."""
        return [self]


class ClipData(LightningDataModule):
    """Clips of one data set. A format gives `episodes(split)` and `meaning`, and `state_meaning`
    where its robot reports states; the rest is here.

    root: the data set's folder. window: how clips are cut. batch_size, num_workers: of the
    loaders. seed: of the order in which training windows come. latency_frames: native frames by
    which commands lead the picture (`egowm data check` measures it); action k of a clip is then
    the command recorded that much before its frame. Only for commands: poses do not lead.
    """

    cache: Cache | None = None  # where clips for fitting come from in place of frames
    meaning: ActionSpec  # without ranges, at the native rate
    state_meaning: ActionSpec | None = None  # the same of the states, where episodes have them

    def __init__(
        self,
        root: str,
        window: Window,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        latency_frames: int = 0,
    ) -> None:
        super().__init__()
        if latency_frames < 0:
            raise ValueError(
                f"{type(self).__name__}: latency_frames is 0 or more, got {latency_frames}."
            )
        if batch_size < 1 or num_workers < 0:
            raise ValueError(
                f"{type(self).__name__}: expected a batch_size of at least 1 and num_workers of 0 "
                f"or more, got {batch_size} and {num_workers}."
            )
        self.latency_frames = latency_frames
        self.root, self.window, self.seed = root, window, seed
        self.batch_size, self.num_workers = batch_size, num_workers
        self._episodes: dict[str, list[Episode]] = {}
        self._spec: ActionSpec | None = None
        self._state_spec: ActionSpec | None = None
        self._training: TrainingLoader | None = None
        self._position: dict[str, Any] | None = None  # where a resumed run goes on

    @abstractmethod
    def episodes(self, split: str) -> list[Episode]:
        """Episodes of "train", "val" or "test" as recorded; no episode is in two of them."""

    @property
    def source(self) -> str:
        """The data set's name."""
        return type(self).__name__

    def split(self, name: str) -> list[Episode]:
        """`episodes(name)`, read once, with commands `latency_frames` later."""
        if name not in self._episodes:
            late = self.latency_frames
            if late and self.meaning.kind != "command":
                raise ValueError(
                    f"{self.source}: latency_frames moves commands; actions of kind "
                    f"{self.meaning.kind} come from poses or states, which do not lead. Leave it 0."
                )
            found = [e for e in self.episodes(name) if e.num_frames > late + 1]
            self._episodes[name] = [episode.delayed(late) for episode in found]
        return self._episodes[name]

    @property
    def clip_meaning(self) -> ActionSpec:
        """What the actions of a clip mean, at the rate of its frames; no ranges."""
        return replace(self.meaning, rate_hz=self.meaning.rate_hz / self.window.stride)

    @property
    def spec(self) -> ActionSpec:
        """`clip_meaning` with ranges measured on the training split."""
        if self._spec is None:
            kind, stride = self.meaning.kind, self.window.stride
            parts = [compose(e.actions, stride, kind) for e in self.split("train")]
            self._spec = self.clip_meaning.fitted(parts)
        return self._spec

    @property
    def state_spec(self) -> ActionSpec | None:
        """What the state of a clip means, with ranges measured on the training split; None where
        the format has no states."""
        if self._state_spec is None and self.state_meaning is not None:
            rate = self.state_meaning.rate_hz / self.window.stride
            states = [episode.states for episode in self.split("train")]
            self._state_spec = replace(self.state_meaning, rate_hz=rate).fitted(states)
        return self._state_spec

    def with_horizon(self, horizon: int) -> "ClipData":
        """The same data cut into clips of another number of future frames."""
        other = copy(self)
        other.window = replace(self.window, horizon=horizon)
        return other

    def windows(self, name: str, tiled: bool) -> Windows:
        """The clips of a split; an error when the episodes are too short for one."""
        found = Windows(self.split(name), self.window, self.source, self.meaning, tiled)
        if not len(found):
            longest = max((e.num_frames for e in found.episodes), default=0)
            raise ValueError(
                f"{self.source} {self.root}: no {name} clip: a window needs {self.window.span} "
                f"frames, {len(found.episodes)} episodes, the longest of {longest}. Shorten "
                f"the window (context, horizon, stride) or check the split."
            )
        return found

    def train_dataloader(self) -> TrainingLoader | DataLoader[Clip]:
        clips = self._fitted("train", tiled=False)
        if self._overfits:
            return self._loader(clips)
        return self._shuffled(clips, RandomBatches(len(clips), self.batch_size, self.seed))

    def val_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self._fitted("val", tiled=True))

    def test_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self.windows("test", tiled=True))

    predict_dataloader = test_dataloader

    def state_dict(self) -> dict[str, Any]:
        """Where training is in its data."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict

    def _fitted(self, name: str, tiled: bool) -> Any:
        """The windows of a split as fitting wants them: from the cache, where there is one."""
        clips = self.windows(name, tiled)
        for part in clips.parts if self.cache is not None else []:
            part.known = self.cache.of(part)  # type: ignore[union-attr]
        return clips

    @property
    def _overfits(self) -> bool:
        """Whether the trainer asks for the same few batches over and over."""
        return bool(getattr(self.trainer, "overfit_batches", 0))

    def _shuffled(self, clips: Windows, order: Order) -> TrainingLoader:
        """Training batches, shared out over the trainer's processes, from where they stopped."""
        trainer = self.trainer
        place = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        self._training = TrainingLoader(clips, order, self.num_workers, *place)
        if self._position is not None:
            self._training.load_state_dict(self._position)
            self._position = None
        return self._training

    def _loader(self, clips: Windows) -> DataLoader[Clip]:
        """All clips in order."""
        return DataLoader(
            clips,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
            persistent_workers=self.num_workers > 0,
        )
