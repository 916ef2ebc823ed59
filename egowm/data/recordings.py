"""Data sets of recordings: how they are divided, and what happens with damaged ones."""

import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.label_index import Index, Kept, read_indexed
from egowm.data.module import ClipData, Window
from egowm.data.splits import Split
from egowm.data.times import breaks

log = logging.getLogger(__name__)
ADVICE = "Repair it or copy it again, or leave it out with skip_corrupt: true."
Place = TypeVar("Place")  # where a format finds one recording


def bad(file: Path, what: str) -> ValueError:
    """The error for a recording that `skip_corrupt` leaves out."""
    return ValueError(f"{file}: {what}. {ADVICE}")


def _warn(error: Exception) -> None:
    log.warning("left out: %s", error)


def matching(owner: str, folder: Path, pattern: str) -> list[Path]:
    """The files of a folder, in order, also where they are in capitals; FileNotFoundError says
    where there may be some."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{owner}: no folder {folder}; pass --data.root PATH.")
    either = re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", pattern)
    files = sorted(path for path in folder.glob(either) if path.name[0] != ".")
    if not files:
        below = next(folder.glob(f"*/{pattern}"), None)
        hint = f" There are some in {below.parents[pattern.count('/')]}." if below else ""
        raise FileNotFoundError(f"{owner}: looked for {folder}/{pattern} and found none.{hint}")
    return files


class NamedRecordings(ClipData):
    """Many recordings, divided by their names.

    Args:
        train_names: Text file with the names of the training episodes, one a line, as NWM's
            traj_names.txt; without it the sha256 of a name decides.
        test_names: The same for the test episodes; give both or neither.
        val_share: Share of the training episodes that are for validation, from 0 up to 1; the
            sha256 of a name decides.
        test_share: Share of the episodes that are for tests where no names are given, from 0 up to
            1.
        skip_corrupt: Leave out recordings that cannot be read, with a warning, in place of
            stopping.
    """

    on_corrupt: Callable[[Exception], object] | None = None  # takes errors in place of the log

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        train_names: str | None = None,
        test_names: str | None = None,
        val_share: float = 0.02,
        test_share: float = 0.2,
        skip_corrupt: bool = False,
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        owner = type(self).__name__
        self.splits = Split(owner, train_names, test_names, val_share, test_share)
        self.skip_corrupt = skip_corrupt

    @property
    def leave_out(self) -> Callable[[Exception], object] | None:
        """Takes the error of a corrupt recording; None where it stops everything."""
        return self.on_corrupt or (_warn if self.skip_corrupt else None)


class Recordings(NamedRecordings, Generic[Place]):
    """Recordings of which each is found and read by itself.

    A format gives `recordings` and `read`, and `files`, `made` and `options` to keep labels for the
    next start.

    Args:
        max_gap_s: Seconds between two frames beyond which a recording is cut into episodes, where
            its format has times; without it 2.5 times their median.
    """

    def __init__(
        self, root: str, window: Window = Window(), *, max_gap_s: float | None = None, **rest: Any
    ) -> None:
        super().__init__(root, window, **rest)
        if max_gap_s is not None and not max_gap_s > 0:
            raise ValueError(
                f"{type(self).__name__}: max_gap_s is seconds above 0, got {max_gap_s}."
            )
        self.max_gap_s = max_gap_s
        self.cut: dict[str, Episode] = {}  # whole, by name, the recordings that were cut

    def episodes(self, split: str) -> list[Episode]:
        places = self.recordings()
        read = read_indexed(
            f"{self.source}: reading {split} labels",
            self.splits.of(split, places, self.folder),
            lambda name: self.read(places[name]),
            self.leave_out,
            Index(
                [self.source, str(self.folder.resolve()), *self.options()],
                lambda name: self.files(places[name]),
                lambda name, kept: self.made(places[name], kept),
            ),
        )
        return [part for episode in read for part in self._unbroken(episode)]

    def _unbroken(self, episode: Episode) -> list[Episode]:
        """The episode, or its parts where its times have holes: no action leads across one."""
        starts = breaks(episode.times, self.max_gap_s).tolist()
        if not starts:
            return [episode]
        self.cut[episode.name] = episode
        log.info("%s: cut at %s of its times", episode.name, counted(len(starts), "hole"))
        bounds = pairwise([0, *starts, episode.num_frames])
        return [episode.part(first, end) for first, end in bounds if end - first > 1]

    @abstractmethod
    def recordings(self) -> dict[str, Place]:
        """All recordings by name; FileNotFoundError where there is none."""

    @abstractmethod
    def read(self, place: Place) -> Episode:
        """The labels of a recording, its frames behind a reader; ValueError for a corrupt one."""

    @abstractmethod
    def files(self, place: Place) -> Sequence[Path]:
        """The files whose labels are read again when the size or time of one changes."""

    @abstractmethod
    def made(self, place: Place, labels: Kept) -> Episode:
        """The episode of a recording with labels that were kept."""

    def options(self) -> list[Any]:
        """Options on which the labels depend, as JSON."""
        return []


class LongRecordings(ClipData):
    """Long recordings, each divided in time: first training, then validation, then test.

    Args:
        val_share: Share of a recording that is for validation; it lies before the test split.
        test_share: Share of a recording that is for tests, at its end. The sum of both is below 1.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        val_share: float = 0.1,
        test_share: float = 0.2,
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        if min(val_share, test_share) < 0 or val_share + test_share >= 1:
            raise ValueError(
                f"{type(self).__name__}: val_share {val_share} and test_share {test_share} leave "
                f"no training records; give shares of 0 or more whose sum is below 1."
            )
        self.val_share, self.test_share = val_share, test_share

    def span(self, split: str, count: int) -> tuple[int, int]:
        """First frame of a split of a recording of `count` frames, and the one after its last."""
        test = count - round(self.test_share * count)
        val = test - round(self.val_share * count)
        return {"train": (0, val), "val": (val, test), "test": (test, count)}[split]
