"""Which split an episode is in: by published lists of names, or by the hash of its name."""

import hashlib
import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from egowm.checks import counted
from egowm.data.public_recordings import how_to_get
from egowm.data.text import text_of
from egowm.paths import expanded

log = logging.getLogger(__name__)


@dataclass
class Split:
    """Divides the episodes of a data set; the split of one never depends on which others exist.

    owner: the format's name, for messages. The rest is explained in `Recordings`.
    """

    owner: str
    train_names: str | None = None
    test_names: str | None = None
    val_share: float = 0.02
    test_share: float = 0.2

    def __post_init__(self) -> None:
        if (self.train_names is None) != (self.test_names is None):
            raise ValueError(f"{self.owner}: give both train_names and test_names, or neither.")
        for name, share in (("val_share", self.val_share), ("test_share", self.test_share)):
            if not 0 <= share < 1:
                raise ValueError(f"{self.owner}: {name} is a share from 0 up to 1, got {share}.")
        self._warned = False

    def of(self, split: str, names: Collection[str], root: Path) -> list[str]:
        """The names of a split, out of `names` (all that lie in `root`), in their order.

        Listed episodes that are missing are a warning, once: published lists name all of a data
        set, and one may hold a part. Raises ValueError for a name that both files list.
        """
        listed = set().union(*self._listed.values())
        missing = sorted(listed - set(names))
        if missing and not self._warned:
            self._warned = True
            about = (
                self.owner,
                root,
                len(missing),
                counted(len(listed), "listed episode"),
                missing[0],
            )
            log.warning("%s: %s lacks %d of %s, the first is %s", *about)
        return [name for name in names if self._split_of(name) == split]

    def mended(self, names: Collection[str]) -> dict[str, float] | None:
        """Shares, as near to the given ones as may be, that leave no split of `names` empty; None
        where there are too few names, or where files list them."""
        if self._listed:
            return None
        for test, val in product(*(self._shares(names, kind) for kind in ("test", "val"))):
            other = Split(self.owner, val_share=val, test_share=test)
            if len({other._split_of(name) for name in names}) == 3:
                return {"val_share": val, "test_share": test}
        return None

    def uneven(self, names: Collection[str]) -> str:
        """That few recordings happen to be for training, of how many, one sentence; "" where they
        are about as many as the shares say, or where files list them."""
        train = sum(self._split_of(name) == "train" for name in names)
        wanted = len(names) * (1 - self.val_share) * (1 - self.test_share)
        if self._listed or not 0 < train <= 0.75 * wanted:
            return ""
        return (
            f"{train} of {counted(len(names), 'recording')} for training, where the shares mean "
            f"{wanted:.0f}: the names decide, which is uneven for so few. `divide: time` divides "
            f"each recording by the shares"
        )

    def _shares(self, names: Collection[str], kind: str) -> list[float]:
        """The share that is set, then those that rise with each name."""
        own = {"val": self.val_share, "test": self.test_share}[kind]
        ends = sorted(math.floor(100 * share_of(name, kind) + 1) / 100 for name in names)
        return [own, *(end for end in ends if end < 1)]

    def _split_of(self, name: str) -> str:
        """The split of an episode; "" for one that neither names file lists."""
        if self._listed:
            if name in self._listed["test"]:
                return "test"
            if name not in self._listed["train"]:
                return ""
        elif share_of(name, "test") < self.test_share:
            return "test"
        return "val" if share_of(name, "val") < self.val_share else "train"

    @cached_property
    def _listed(self) -> dict[str, frozenset[str]]:
        """The names files, checked against each other; empty where none are given."""
        if self.train_names is None or self.test_names is None:
            return {}
        train, test = self._read(self.train_names), self._read(self.test_names)
        if both := sorted(train & test):
            files = f"{self.train_names} and {self.test_names}"
            raise ValueError(
                f"{self.owner}: episode {both[0]} is in both {files}; take it out of one."
            )
        return {"train": train, "test": test}

    def _read(self, file: str) -> frozenset[str]:
        path = expanded(file)
        if not path.is_file():
            absent = f"{self.owner}: no file {path} with one episode name a line."
            raise FileNotFoundError(f"{absent} {how_to_get(path)}".strip())
        return frozenset(line.strip() for line in text_of(path).splitlines() if line.strip())


def share_of(name: str, salt: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.sha256(f"{salt}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def span(split: str, count: int, val_share: float, test_share: float) -> tuple[int, int]:
    """First frame of a split of a recording of `count` frames that is divided in time, and the
    frame after its last one: training comes first, then validation, then test."""
    test = count - round(test_share * count)
    val = test - round(val_share * count)
    return {"train": (0, val), "val": (val, test), "test": (test, count)}[split]
