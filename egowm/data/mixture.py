"""Several data sets in one recipe: each batch comes from one of them."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from egowm.actions import ActionSpec
from egowm.clip import Clip
from egowm.data.episode import Episode
from egowm.data.loader import Order
from egowm.data.module import ClipData, Window, Windows
from egowm.data.reading import collate
from egowm.paths import inside


class Mixture(ClipData):
    """Clips of several data sets whose actions mean the same; only their ranges may differ.

    `Clip.source` is the name of its source, and clips are called `<source>_<clip>`. An epoch has as
    many batches as the sources hold together.

    >>> from egowm.data import NWM
    >>> sources = {name: NWM(name, normaliser=name) for name in ("recon", "scand")}
    >>> mixture = Mixture(sources, Window(horizon=8), weights={"recon": 3, "scand": 1})
    >>> [spec.high[0] for spec in mixture.specs.values()]  # metres forward
    [1.25, 1.9]

    Args:
        sources: Data modules by name. Of a source's own window only the stride counts, which brings
            all sources to one rate.
        window: How clips are cut; its stride is not used.
        weights: How often a training batch comes from each source; without them every training clip
            is as likely.

    Raises:
        ValueError: Sources with other names, units, frame, kind or rate; the message names source
            and difference.
    """

    def __init__(
        self,
        sources: dict[str, ClipData],
        window: Window = Window(),
        *,
        weights: dict[str, float] | None = None,
        **rest: Any,
    ) -> None:
        if not sources:
            raise ValueError("Mixture: expected at least one source, got none.")
        for name in sources:
            inside(Path(), name, "Mixture: sources")  # clips are written under these names
        first = next(iter(sources.values()))
        window = replace(window, stride=first.window.stride)
        super().__init__("", window, latency_frames=0, **rest)
        self.meaning, self.state_meaning = first.meaning, first.state_meaning
        self.sources, self.weights = sources, weights
        _check_meanings(sources)
        if weights is not None:
            _check_weights(sources, weights)

    @property
    def source(self) -> str:
        return " + ".join(self.sources)

    @property
    def spec(self) -> ActionSpec:
        """The spec of the first source."""
        return next(iter(self.specs.values()))

    @property
    def specs(self) -> dict[str, ActionSpec]:
        """The meaning of actions, with the ranges of each source."""
        return {name: data.spec for name, data in self.sources.items()}

    def prepare_data(self) -> None:
        for data in self.sources.values():
            data.prepare_data()

    def episodes(self, split: str) -> list[Episode]:
        return [episode for data in self.sources.values() for episode in data.split(split)]

    def windows(self, name: str, tiled: bool) -> "MixedWindows":
        """The clips of a split, source after source; an error where a source has none."""
        return MixedWindows(
            {key: self._cut(data).windows(name, tiled) for key, data in self.sources.items()}
        )

    def lacks(self, name: str) -> str:
        found = {key: self._cut(data).lacks(name) for key, data in self.sources.items()}
        return next((f"source {key}: {why}" for key, why in found.items() if why), "")

    def vacant(self) -> list[str]:
        return sorted({name for data in self.sources.values() for name in data.vacant()})

    def _order(self, clips: Any) -> Order:
        weights = [1.0 * size for size in clips.sizes]
        if self.weights is not None:
            weights = [self.weights[name] for name in self.sources]
        return MixedBatches(clips.sizes, weights, self.batch_size, self.seed)

    def _cut(self, data: ClipData) -> ClipData:
        """A source at this window, at its own stride."""
        other = copy(data)
        other.window = replace(self.window, stride=data.window.stride)
        return other

    def _loader(self, clips: Any) -> DataLoader[Clip]:
        starts = np.cumsum([0, *clips.sizes[:-1]]).tolist()
        batches = [
            list(range(start + k, start + min(k + self.batch_size, size)))
            for start, size in zip(starts, clips.sizes, strict=True)
            for k in range(0, size, self.batch_size)
        ]
        # A sampler of whole batches, not a batch sampler: this kind Lightning shares out over
        # processes by itself.
        return DataLoader(
            _Batches(clips),
            batch_size=None,
            sampler=batches,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


class MixedWindows(Windows):
    """The windows of several sources, one source after the other."""

    def __init__(self, parts: dict[str, Windows]) -> None:
        self._parts = list(parts.values())
        for name, part in parts.items():
            part.source = name
        self.episodes = [episode for part in self._parts for episode in part.episodes]
        self.sizes = [len(part) for part in self._parts]
        self.index = np.array(
            [(i, k) for i, size in enumerate(self.sizes) for k in range(size)], np.int64
        ).reshape(-1, 2)

    def __getitems__(self, items: Sequence[int]) -> list[Clip]:
        places = self.index[list(items)]
        if len(np.unique(places[:, 0])) > 1:
            return [self[item] for item in items]
        clips = self._parts[int(places[0, 0])].__getitems__(places[:, 1].tolist())
        return [clip._replace(name=f"{clip.source}_{clip.name}") for clip in clips]

    @property
    def parts(self) -> list[Windows]:
        return self._parts


class MixedBatches:
    """Training batches, each of one source, drawn by weight; `seed` and the epoch decide.

    sizes: windows of each source, which follow each other. Within an epoch a source's windows come
    in random order, and again in another when all have come.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float], batch_size: int, seed: int
    ) -> None:
        self.sizes, self.weights, self.batch_size = list(sizes), list(weights), batch_size
        self.seed = seed

    def __len__(self) -> int:
        return max(1, sum(self.sizes) // self.batch_size)

    def epoch(self, number: int) -> Iterator[list[int]]:
        """The batches of one epoch."""
        generator = torch.Generator().manual_seed(self.seed + number)
        starts = np.cumsum([0, *self.sizes[:-1]]).tolist()
        streams = [
            _endless(start, size, generator) for start, size in zip(starts, self.sizes, strict=True)
        ]
        chosen = torch.multinomial(
            torch.tensor(self.weights), len(self), replacement=True, generator=generator
        )
        for source in chosen.tolist():
            # A source smaller than a batch repeats its windows in it.
            yield [next(streams[source]) for _ in range(self.batch_size)]


class _Batches(Dataset[Clip]):
    """Collated clips by lists of their numbers."""

    def __init__(self, clips: MixedWindows) -> None:
        self.clips = clips

    def __getitem__(self, numbers: list[int]) -> Clip:  # type: ignore[override]
        return collate(self.clips.__getitems__(numbers))

    def __len__(self) -> int:
        return len(self.clips)


def _endless(start: int, size: int, generator: torch.Generator) -> Iterator[int]:
    while True:
        for number in torch.randperm(size, generator=generator).tolist():
            yield start + number


def _check_meanings(sources: dict[str, ClipData]) -> None:
    """Refuse sources whose actions or states differ in more than their ranges."""
    (first, reference), *others = sources.items()
    for name, data in others:
        _check_same(first, name, "actions", reference.clip_meaning, data.clip_meaning)
        mine, theirs = reference.state_meaning, data.state_meaning
        if mine is not None and theirs is not None:
            _check_same(first, name, "states", mine, theirs)
        elif mine is not theirs:
            without = first if mine is None else name
            raise ValueError(
                f"Mixture: source {without} has no states and the others have; mix data sets of "
                f"one kind."
            )


def _check_same(first: str, other: str, what: str, mine: ActionSpec, theirs: ActionSpec) -> None:
    for field in ("names", "units", "frame", "kind"):
        a, b = getattr(mine, field), getattr(theirs, field)
        if a != b:
            raise ValueError(
                f"Mixture: the {what} of sources {first} and {other} differ in {field}: {a} "
                f"against {b}. Only their ranges may differ; fit such data sets apart."
            )
    if what == "actions" and abs(mine.rate_hz - theirs.rate_hz) > 0.01 * mine.rate_hz:
        raise ValueError(
            f"Mixture: sources {first} and {other} differ in rate: {mine.rate_hz:g} Hz against "
            f"{theirs.rate_hz:g} Hz. Set window.stride of {other} so that they agree."
        )


def _check_weights(sources: dict[str, ClipData], weights: dict[str, float]) -> None:
    if set(weights) != set(sources):
        raise ValueError(
            f"Mixture: expected a weight for each of {', '.join(sources)}, got weights for "
            f"{', '.join(weights)}."
        )
    for name, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise ValueError(
                f"Mixture: a weight is a number above 0, got {weight} for {name}. Take out a "
                f"source that should not be used."
            )
