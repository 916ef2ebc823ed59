"""Data that grows while it is learned from: sequences of a replay buffer."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import check_between, check_whole, counted
from egowm.clip import Clip
from egowm.data.windows import Window
from egowm.latent.rssm import Signals
from egowm.paths import expanded
from egowm.policies.episode_cache import EpisodeCache
from egowm.policies.replay_buffer import (
    HEADER,
    MOST_STEPS,
    ReplayEpisode,
    Stored,
    listed,
    read_header,
)

log = logging.getLogger(__name__)
PAUSE, REMIND = 1.0, 60.0  # seconds between looks while it waits; between lines that say so
EPOCH = 50  # batches between looks for new episodes
MOST_BATCH = 100_000


class Experience(NamedTuple):
    """What a robot lived through: a batch of clips, and what it was told at their future frames.

    Args:
        clip: B clips.
        signals: Rewards and ends, (B, T).

    >>> rest = torch.zeros(1, 0, 3), torch.zeros(1, 0), [""], ["replay"], ["0_0"]
    >>> clip = Clip(torch.zeros(1, 9, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 8, 3), *rest)
    >>> len(Experience(clip, Signals(torch.zeros(1, 8), torch.ones(1, 8))).clip.actions[0])
    8
    """

    clip: Clip
    signals: Signals


class ReplaySequences:
    """Sequences of the newest episodes of a buffer, which may grow.

    capacity: actions of the episodes that are drawn from. length: T.
    """

    def __init__(self, root: Path, capacity: int, length: int) -> None:
        self.root, self.capacity, self.length = root, capacity, length
        self.size, self.spec = read_header(root)
        self.read = EpisodeCache(self.size, self.spec.width)
        self.bad: set[Path] = set()
        self.look()

    def look(self) -> None:
        """See what is there now."""
        kept: list[Stored] = []
        self.steps = 0
        for stored in reversed(listed(self.root)):
            if self.steps >= self.capacity:
                break
            if stored.path not in self.bad:
                kept.append(stored)
                self.steps += stored.steps
        self.kept = kept[::-1]
        starts = [max(0, one.steps - self.length + 1) for one in self.kept]
        self.ends = np.cumsum(starts, dtype=np.int64)  # of the sequences of each episode

    def drawn(self, rng: np.random.Generator) -> tuple[str, ReplayEpisode]:
        """A sequence and its name, each of all as likely as any other; a damaged episode is left
        out with a warning."""
        while len(self.ends) and self.ends[-1]:
            place = int(rng.integers(self.ends[-1]))
            which = int(np.searchsorted(self.ends, place, side="right"))
            stored, first = self.kept[which], place - int(self.ends[which - 1] if which else 0)
            try:
                episode = self.read(stored)
                return f"{stored.path.stem}_{first}", episode.cut(first, self.length)
            except (ValueError, OSError) as error:
                log.warning("Left out of the replay buffer: %s", error)
                self.bad.add(stored.path)
                self.look()
        raise ValueError(
            f"{self.root}: no episode of {counted(self.length, 'action')} is readable: let the "
            f"robot drive on, or lower --data.horizon."
        )


class Replay(LightningDataModule):
    """Training batches of a replay buffer that another process fills (`egowm collect`).

    Every batch is drawn afresh from all episodes that are there, a sequence as likely as any other.
    New episodes are looked for every 50 batches. Training waits until `min_steps` are there.

    Args:
        root: Folder of the buffer.
        horizon: Actions T of a sequence; it has T + 1 frames.
        batch_size: Sequences in a batch.
        capacity: Actions that are drawn from, of the newest episodes.
        min_steps: Actions that must be there before training begins.
        seed: Decides which sequences are drawn.

    >>> data = Replay("runs/robot/replay", horizon=16, batch_size=10)  # not begun yet
    >>> data.horizon, data.min_steps
    (16, 500)
    """

    def __init__(
        self,
        root: str,
        horizon: int = 16,
        batch_size: int = 16,
        capacity: int = 100_000,
        min_steps: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_whole("horizon", horizon, 1, MOST_STEPS)
        check_whole("batch_size", batch_size, 1, MOST_BATCH)
        check_whole("min_steps", min_steps, horizon, 10**9)
        check_whole("capacity", capacity, min_steps, 10**12)
        check_between("seed", seed, 0, 2**63 - 1)
        self.root, self.horizon, self.batch_size = root, horizon, batch_size
        self.capacity, self.min_steps, self.seed = capacity, min_steps, seed
        self.position, self.waited = 0, 0.0
        self._sequences: ReplaySequences | None = None

    @property
    def sequences(self) -> ReplaySequences:
        """Those that are there; FileNotFoundError before the buffer is begun."""
        if self._sequences is None:
            root = expanded(self.root)
            if not (root / HEADER).is_file():
                raise FileNotFoundError(
                    f"No replay buffer in {self.root}: begin one with `egowm collect --output "
                    f"{self.root}`, or say where it is, --data.root."
                )
            self._sequences = ReplaySequences(root, self.capacity, self.horizon)
        return self._sequences

    @property
    def spec(self) -> ActionSpec:
        """What actions mean, with the ranges that the robot moves in."""
        return self.sequences.spec

    @property
    def clip_meaning(self) -> ActionSpec:
        """The same."""
        return self.spec

    @property
    def window(self) -> Window:
        """How sequences are cut, and the size of their frames."""
        return Window(1, self.horizon, 1, *self.sequences.size)

    def setup(self, stage: str) -> None:
        """Wait until there is enough to begin with."""
        self._wait(lambda: (expanded(self.root) / HEADER).is_file(), 0)
        self._wait(lambda: self._looked() >= self.min_steps, self.min_steps)

    def _looked(self) -> int:
        self.sequences.look()
        return self.sequences.steps

    def _wait(self, is_there: Any, wanted: int) -> None:
        told = -REMIND
        while not is_there():
            if time.monotonic() - told >= REMIND:
                there = self.sequences.steps if wanted else 0
                log.info(
                    "Waiting for `egowm collect --output %s`: %d of %s are there.",
                    self.root,
                    there,
                    counted(max(wanted, self.min_steps), "step"),
                )
                told = time.monotonic()
            time.sleep(PAUSE)

    def train_dataloader(self) -> "Replay":
        return self

    def __len__(self) -> int:
        return EPOCH

    def __iter__(self) -> Iterator[Experience]:
        """The next 50 batches, from where the last ones stopped."""
        self.sequences.look()
        for _ in range(EPOCH):
            started = time.perf_counter()
            batch = self.batch(self.position)
            self.waited += time.perf_counter() - started
            self.position += 1
            yield batch

    def batch(self, position: int) -> Experience:
        """The batch of a position, of what is there now.

        Args:
            position: Batches before it since the run's start.
        """
        rng = np.random.default_rng([self.seed, position])
        names, drawn = zip(
            *(self.sequences.drawn(rng) for _ in range(self.batch_size)), strict=True
        )
        frames, *told = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
        return Experience(_clip(frames, told[0], list(names)), Signals(told[1], told[2]))

    def state_dict(self) -> dict[str, Any]:
        """The position of training in its data."""
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = int(state_dict["position"])


def _clip(frames: Tensor, actions: Tensor, names: list[str]) -> Clip:
    """Of frames (B, T+1, H, W, 3) and actions (B, T, A)."""
    count, _, width = actions.shape
    rest = actions.new_zeros(count, 0, width), actions.new_zeros(count, 0)
    pictures = frames.permute(0, 1, 4, 2, 3).contiguous()
    return Clip(pictures, actions, *rest, [""] * count, ["replay"] * count, names)  # type: ignore
