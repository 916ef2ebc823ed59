"""Data sets of clips: splits, ranges, loaders. One subclass per format, one file each."""

import logging
from abc import abstractmethod
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from egowm.actions import ActionSpec, compose
from egowm.checks import counted
from egowm.clip import Clip
from egowm.data.episode import Episode
from egowm.data.loader import Order, RandomBatches, TrainingLoader
from egowm.data.reading import collate
from egowm.data.windows import Cache, KnownClips, Window, Windows
from egowm.paths import expanded

log = logging.getLogger(__name__)
__all__ = ["Cache", "ClipData", "KnownClips", "Window", "Windows"]


class ClipData(LightningDataModule):
    """Clips of one data set.

    A format gives `episodes(split)` and `meaning`, and `state_meaning` where its robot reports
    states; the rest is here.

    >>> import numpy as np
    >>> class Counted(ClipData):
    ...     meaning = ActionSpec(("turn",), ("rad",), "body", "difference", rate_hz=10.0)
    ...
    ...     def episodes(self, split):
    ...         read = lambda indices: np.stack([np.full((8, 8, 3), k, np.uint8) for k in indices])
    ...         return [Episode(f"{split}_1", 6, read, np.ones((5, 1), np.float32))]
    >>> data = Counted("", Window(horizon=2, stride=2, height=8, width=8))
    >>> clip = data.windows("train", tiled=False)[1]
    >>> clip.frames[:, 0, 0, 0].tolist(), clip.actions[:, 0].tolist()
    ([1, 3, 5], [2.0, 2.0])

    Args:
        root: Folder of the data set.
        window: How clips are cut out of episodes, and the size of their frames.
        batch_size: Clips in a batch, at least 1.
        num_workers: Processes that read batches; with 0 the training process reads them.
        seed: Decides the order in which training clips come.
        latency_frames: Native frames by which commands lead the picture, which `egowm data check`
            measures. Action k of a clip is the command recorded that many frames before its frame.
            Leave it 0 where actions come from poses or states, which do not lead.
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

    @property
    def folder(self) -> Path:
        """The data set's folder."""
        return expanded(self.root)

    def split(self, name: str) -> list[Episode]:
        """`episodes(name)`, read once, with commands `latency_frames` later."""
        if name not in self._episodes:
            late = self.latency_frames
            if late and self.meaning.kind != "command":
                raise ValueError(
                    f"{self.source}: latency_frames moves commands; actions of kind "
                    f"{self.meaning.kind} come from poses or states, which do not lead. Leave it 0."
                )
            with np.errstate(all="ignore"):  # an Episode refuses what is not finite
                found = self.episodes(name)
            self._episodes[name] = [
                episode.delayed(late) for episode in found if episode.num_frames > late + 1
            ]
        return self._episodes[name]

    @property
    def clip_meaning(self) -> ActionSpec:
        """The meaning of a clip's actions, at the rate of its frames; without ranges."""
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
        """The meaning of a clip's state, with ranges measured on the training split; None where the
        format has no states."""
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

    def with_context(self, context: int) -> "ClipData":
        """The same data cut into clips of another number of context frames."""
        other = copy(self)
        other.window = replace(self.window, context=context)
        return other

    def windows(self, name: str, tiled: bool) -> Windows:
        """The clips of a split; an error when the episodes are too short for one."""
        if why := self.lacks(name):
            raise ValueError(f"{self.source} {self.root}: no {name} clip: {why}")
        return Windows(self.split(name), self.window, self.source, self.meaning, tiled)

    def lacks(self, name: str) -> str:
        """Why a split holds no clip, and the option that mends it; "" where it holds some."""
        episodes, span = self.split(name), self.window.span
        if not episodes:
            without = " Or train without: --trainer.limit_val_batches 0." if name == "val" else ""
            return f"no recording is in this split. {self.mend(name)}{without}"
        longest = max(episode.num_frames for episode in episodes)
        if longest >= span:
            return ""
        return (
            f"a window needs {counted(span, 'frame')}, got {counted(len(episodes), 'episode')}, "
            f"the longest of {longest}. Shorten the window (context, horizon, stride)."
        )

    def mend(self, name: str) -> str:
        """The option that gives an empty split recordings, one sentence."""
        return "Give recordings of it."

    def vacant(self) -> list[str]:
        """Splits without a recording, as far as that is known without reading any."""
        return []

    def setup(self, stage: str) -> None:
        """Refuse a fit that lacks clips before its first step, and name what later steps lack."""
        if stage != "fit":
            return
        validated = self.trainer is None or self.trainer.limit_val_batches
        for name in ("train", "val") if validated else ("train",):
            self.windows(name, tiled=True)
        for name in self.vacant():
            without = {"val": "this fit is not validated", "test": "egowm eval will find no clip"}
            log.warning("Split %s is empty: %s. %s", name, without[name], self.mend(name))

    def train_dataloader(self) -> TrainingLoader | DataLoader[Clip]:
        clips = self._fitted("train", tiled=False)
        if getattr(self.trainer, "overfit_batches", 0):  # the same few batches over and over
            return self._loader(clips)
        return self._shuffled(clips, self._order(clips))

    def val_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self._fitted("val", tiled=True))

    def test_dataloader(self) -> DataLoader[Clip]:
        return self._loader(self.windows("test", tiled=True))

    predict_dataloader = test_dataloader

    def state_dict(self) -> dict[str, Any]:
        """The position of training in its data."""
        return {} if self._training is None else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._position = state_dict

    def _fitted(self, name: str, tiled: bool) -> Any:
        """The windows of a split as fitting wants them: from the cache, where there is one."""
        clips = self.windows(name, tiled)
        for part in clips.parts if self.cache is not None else []:
            part.known = self.cache.of(part)  # type: ignore[union-attr]
        return clips

    def _order(self, clips: Any) -> Order:
        """The order of the clips in training batches."""
        return RandomBatches(len(clips), self.batch_size, self.seed)

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
