"""Data sets of recordings: how they are divided, and what happens with damaged ones."""

import logging
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from egowm.checks import counted
from egowm.data.episode import Episode
from egowm.data.label_index import Index, Kept, read_indexed
from egowm.data.module import ClipData, Window
from egowm.data.public_recordings import missing
from egowm.data.splits import Split, span
from egowm.data.times import breaks

log = logging.getLogger(__name__)
Place = TypeVar("Place")  # where a format finds one recording


def matching(owner: str, folder: Path, pattern: str) -> list[Path]:
    """The files of a folder, in order, also where they are in capitals; FileNotFoundError says
    where there may be some."""
    if not folder.is_dir():
        raise missing(owner, folder, f"no folder {folder}; pass --data.root PATH.")
    either = re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", pattern)
    files = sorted(path for path in folder.glob(either) if path.name[0] != ".")
    if not files:
        below = next(folder.glob(f"*/{pattern}"), None)
        looked = f"looked for {folder}/{pattern} and found none."
        if below is None:
            raise missing(owner, folder, looked)
        at = below.parents[pattern.count("/")]
        raise FileNotFoundError(f"{owner}: {looked} There are some in {at}.")
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
        self._told: set[str] = set()

    @property
    def leave_out(self) -> Callable[[Exception], object] | None:
        """Takes the error of a corrupt recording; None where it stops everything."""
        return self.on_corrupt or (self._warn if self.skip_corrupt else None)

    def _warn(self, error: Exception) -> None:
        if (text := str(error)) not in self._told:  # each split reads what is divided in time
            self._told.add(text)
            log.warning("left out: %s", text)

    def mend(self, name: str) -> str:
        share = "val_share" if name == "val" else "test_share"
        return f"Raise {share}, or list names in train_names and test_names."


class Recordings(NamedRecordings, Generic[Place]):
    """Recordings of which each is found and read by itself.

    A format gives `recordings` and `read`, and `files`, `made` and `options` to keep labels for the
    next start.

    Args:
        divide: "names" puts each recording into one split as a whole. "time" divides each one:
            first training, then validation, then test, by val_share and test_share; for one or a
            few recordings.
        max_gap_s: Seconds between two frames beyond which a recording is cut into episodes, where
            its format has times; without it 2.5 times their median.
    """

    def __init__(
        self,
        root: str,
        window: Window = Window(),
        *,
        divide: Literal["names", "time"] = "names",
        max_gap_s: float | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(root, window, **rest)
        self.divide = divide
        if divide == "time":
            _check_time_shares(self, self.splits)
        if max_gap_s is not None and not max_gap_s > 0:
            raise ValueError(
                f"{type(self).__name__}: max_gap_s is seconds above 0, got {max_gap_s}."
            )
        self.max_gap_s = max_gap_s
        self.cut: dict[str, Episode] = {}  # whole, by name, the recordings that were cut

    def episodes(self, split: str) -> list[Episode]:
        places, whole = self.recordings(), self.divide == "time"
        read = read_indexed(
            f"{self.source}: reading {split} labels",
            list(places) if whole else self.splits.of(split, places, self.folder),
            lambda name: self.read(places[name]),
            self.leave_out,
            Index(
                [self.source, str(self.folder.resolve()), *self.options()],
                lambda name: self.files(places[name]),
                lambda name, kept: self.made(places[name], kept),
            ),
        )
        if whole:
            read = [part for episode in read for part in self._in_time(episode, split)]
        return [part for episode in read for part in self._unbroken(episode)]

    def _in_time(self, episode: Episode, split: str) -> list[Episode]:
        """The part of a recording that is in a split; none where it is shorter than two frames."""
        shares = self.splits.val_share, self.splits.test_share
        first, end = span(split, episode.num_frames, *shares)
        return [episode.part(first, end)] if end - first > 1 else []

    def vacant(self) -> list[str]:
        if self.divide == "time":
            shares = {"val": self.splits.val_share, "test": self.splits.test_share}
            return [name for name, share in shares.items() if not share]
        names = self.recordings()
        return [x for x in ("val", "test") if not self.splits.of(x, names, self.folder)]

    def mend(self, name: str) -> str:
        if self.divide == "time":
            return f"Raise {'val_share' if name == 'val' else 'test_share'}."
        count = len(names := self.recordings())
        shares = self.splits.mended(names)
        if shares is not None:
            sizes = Split(self.source, None, None, shares["val_share"], shares["test_share"])
            parts = ", ".join(
                f"{len(sizes.of(x, names, self.folder))} {x}" for x in ("train", "val", "test")
            )
            options = ", ".join(f"{key}: {value:g}" for key, value in shares.items())
            return f"{options} divide the recordings into {parts}. So does divide: time, in time."
        if self.splits.train_names is not None:
            return super().mend(name)
        few = counted(count, "recording is", "recordings are")
        return f"{few} too few to fill three splits: divide: time divides each one in time."

    def uneven(self) -> str:
        """That few recordings fall otherwise than their shares say; "" where they do not."""
        return self.splits.uneven(self.recordings()) if self.divide == "names" else ""

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
        self.val_share, self.test_share = val_share, test_share
        _check_time_shares(self, self)

    def span(self, split: str, count: int) -> tuple[int, int]:
        """First frame of a split of a recording of `count` frames, and the one after its last."""
        return span(split, count, self.val_share, self.test_share)

    def mend(self, name: str) -> str:
        if name == "train":
            return "Lower val_share and test_share, or give longer recordings."
        return f"Raise {name}_share, or give longer recordings."


def _check_time_shares(owner: ClipData, shares: Any) -> None:
    """Refuse shares that leave nothing of a recording for training."""
    val_share, test_share = shares.val_share, shares.test_share
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise ValueError(
            f"{type(owner).__name__}: val_share {val_share} and test_share {test_share} leave no "
            f"training records; give shares of 0 or more whose sum is below 1."
        )
