"""Training batches from any position; they depend on seed, position and rank alone."""

import logging
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from egowm.checks import counted
from egowm.clip import Clip
from egowm.data.reading import collate

log = logging.getLogger(__name__)


class Order(Protocol):
    """The windows in each batch of an epoch, over all processes."""

    batch_size: int
    seed: int

    def __len__(self) -> int: ...  # batches in an epoch

    def epoch(self, number: int) -> Iterator[list[int]]: ...


class RandomBatches:
    """Batches of window numbers without replacement; `seed` and the epoch decide their order.

    What does not fill the last batch is left out; fewer windows than a batch are one short batch.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed

    def __len__(self) -> int:
        return max(1, self.size // self.batch_size)

    def epoch(self, number: int) -> Iterator[list[int]]:
        """The batches of one epoch."""
        generator = torch.Generator().manual_seed(self.seed + number)
        shuffled = torch.randperm(self.size, generator=generator)
        for numbers in islice(shuffled.split(self.batch_size), len(self)):
            yield numbers.tolist()


class TrainingLoader(Iterable[Clip]):
    """Collated training batches of one process, epoch after epoch, with or without workers.

    Each `iter` goes on where the last one stopped, for `len` batches, an epoch's number of them.
    rank, world: this process, and how many share the batches out; every `world`-th batch is its
    own. position: batches handed out since the run's start; what workers prepared and nobody took
    is not counted. waited: seconds spent waiting for data.
    """

    def __init__(
        self,
        clips: Dataset[Clip],
        order: Order,
        num_workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if len(order) < world:
            raise ValueError(
                f"Expected at least one training batch for each of "
                f"{counted(world, 'process', 'processes')}, got "
                f"{counted(len(order), 'batch', 'batches')} of {order.batch_size}: lower "
                f"--data.batch_size or use fewer devices."
            )
        self.clips, self.order, self.num_workers = clips, order, num_workers
        self.rank, self.world = rank, world
        self.position, self.waited = 0, 0.0
        self._running: Iterator[Clip] | None = None

    def __len__(self) -> int:
        return len(self.order) // self.world

    def __iter__(self) -> Iterator[Clip]:
        for _ in range(len(self)):
            started = time.perf_counter()
            if self._running is None:  # workers live on, and prepare across the end of an epoch
                self._running = iter(self._loader())
            batch = next(self._running)
            self.waited += time.perf_counter() - started
            self.position += 1
            yield batch

    def afresh(self) -> "TrainingLoader":
        """The same batches from the run's start, read in this process."""
        return TrainingLoader(self.clips, self.order, 0, self.rank, self.world)

    def _loader(self) -> DataLoader[Clip]:
        return DataLoader(
            self.clips,
            batch_sampler=_Endless(self),
            num_workers=self.num_workers,
            collate_fn=collate,
            # A generator of its own: a loader draws its workers' seeds from torch's otherwise.
            generator=torch.Generator().manual_seed(self.order.seed),
        )

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it counts in."""
        return {"position": self.position, **self._units()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; where batches are shared out otherwise now, after as many samples."""
        saved = {name: state[name] for name in self._units()}
        self.position, self._running = int(state["position"]), None
        if saved == self._units():
            return
        self.position = self.position * saved["world"] * saved["batch_size"]
        self.position //= self.world * self.order.batch_size
        log.warning(
            "The order of the training data is another one than the checkpoint's (%s against %s): "
            "training goes on after as many samples, not exactly as without the stop.",
            _words(saved),
            _words(self._units()),
        )

    def _units(self) -> dict[str, int]:
        return {
            "batches": len(self.order),
            "batch_size": self.order.batch_size,
            "world": self.world,
            "seed": self.order.seed,
        }


class _Endless(Sampler[list[int]]):
    """The batches of a loader's process from its position on, for all epochs to come."""

    def __init__(self, loader: TrainingLoader) -> None:
        self.order, self.start = loader.order, loader.position
        self.rank, self.world, self.per_epoch = loader.rank, loader.world, len(loader)

    def __iter__(self) -> Iterator[list[int]]:
        number, done = divmod(self.start, self.per_epoch)
        while True:
            first, end = done * self.world + self.rank, self.per_epoch * self.world
            yield from islice(self.order.epoch(number), first, end, self.world)
            number, done = number + 1, 0


def _words(units: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in units.items())
