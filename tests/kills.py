"""Every writer killed at its system calls, out of space, refused, and met by another at work.

`python -m tests.kills [WRITER ...]` tries every call of every writer and keeps what was tried and
lost in `benchmarks/results/kills.json`, where the rows of other writers stay; the tests try some of
each.
"""

import argparse
import errno
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.measure import RESULTS, Record, provenance, read, write
from egowm import unfinished
from egowm.commands.main import explain
from tests.forks import forks
from tests.tracing import CREATES, GROWS, SYNCS, Ended, Fault, in_copy, traced
from tests.writers import WRITERS, Told

EVERY = 1 << 30
SHARES = (0.0, 0.5, 0.9)  # of the bytes that are written
OF_TEXT = {  # safetensors and rerun take no other names; the rest is in a folder of Latin-1
    "convert-sam2 to a file",
    "convert-sam2 to a folder",
    "export of a model",
    "latent cache",
    "pipeline for diffusers",
    "prior",
    "recording for rerun",
    "shard of latents",
}
REFUSALS = {  # what the system says, of which calls, and whether tidying is possible
    "read-only": Fault(kind=errno.EROFS),
    "name too long": Fault(kind=errno.ENAMETOOLONG, names=frozenset(CREATES)),
    "file too large": Fault(kind=errno.EFBIG, names=frozenset(GROWS)),
    "broken disk": Fault(kind=errno.EIO, names=frozenset(SYNCS)),
}


class Trial(NamedTuple):
    """What is tried. fresh: over nothing, not over an earlier result."""

    what: str
    fault: Fault
    fresh: bool


class Found(NamedTuple):
    """Of a writer: its calls, how often each thing was tried, and what went wrong, in words."""

    calls: int
    tried: Counter[str]
    losses: list[str]


class Read(NamedTuple):
    """What a reader finds. value: None where there is nothing, or it is refused."""

    value: Any
    left: list[str]  # temporary names


class Writing:
    """One writer, in a folder below `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.writer = name, WRITERS[name]
        folder /= "cafe" if name in OF_TEXT else os.fsdecode(b"caf\xe9")
        folder.mkdir()
        self.root, self.kept = folder / "place", folder / "kept"
        (folder / "inputs").mkdir()
        self.root.mkdir()
        self.writer.prepare(self.root)
        shutil.copytree(self.root, folder / "empty", symlinks=True)
        self.empty = folder / "empty"
        self.nothing = self.read().value
        self.write_well(1)
        self.first = self.read().value
        shutil.copytree(self.root, self.kept, symlinks=True)
        self.calls, self.second = {}, {}
        for fresh in (True, False):
            ended = self.traced(fresh)
            assert ended.value == "", ended.value
            self.calls[fresh], self.second[fresh] = ended.calls, self.read().value
            assert self.second[fresh] not in (None, self.first), f"{name} shows no second result"

    def write_well(self, version: int) -> None:
        """And import here what it takes, so that copies of this process need not."""
        told, used = in_copy(lambda: (self._write(version), list(sys.modules)))
        assert told == "", told
        for name in used:
            if name not in sys.modules and not name.startswith("__"):
                with suppress(Exception):
                    import_module(name)

    def _write(self, version: int) -> str:
        """The line that the command would print."""
        sys.stdout = open(os.devnull, "w", errors="surrogateescape")  # noqa: SIM115 - of this copy
        os.dup2(sys.stdout.fileno(), 2)
        try:
            self.writer.write(self.root, version)
        except Told as told:
            return str(told)
        except Exception as error:
            return explain(error) or f"traceback: {error!r}"
        return ""

    def read(self) -> Read:
        return in_copy(self._read)  # type: ignore[no-any-return]

    def _read(self) -> Read:
        left = [path.name for path in self.root.rglob(".egowm-*")]
        try:
            return Read(self.writer.read(self.root), left)
        except (OSError, ValueError, KeyError) as error:
            return Read(
                None, left if explain(error) or isinstance(error, KeyError) else [str(error)]
            )

    def again(self) -> tuple[Read, str, Read]:
        """What is there; the line of a second run; what is there then."""
        return in_copy(lambda: (self._read(), self._write(2), self._read()))  # type: ignore

    def begin(self, fresh: bool) -> None:
        """The folder as it was before."""
        shutil.rmtree(self.root)
        shutil.copytree(self.empty if fresh else self.kept, self.root, symlinks=True)

    def traced(self, fresh: bool, fault: Fault | None = None, other: int = 0) -> Ended:
        """Write version 2 over nothing or over version 1. other: what another process writes in
        the pause."""
        self.begin(fresh)
        return traced(
            partial(self._write, 2),
            self.root,
            fault,
            partial(self._write, other),
        )

    def is_whole(self, value: Any, fresh: bool) -> bool:
        """One result or the other. Files that come one by one are each of them whole."""
        before = self.nothing if fresh else self.first
        known = before, self.first, self.second[fresh]
        if not isinstance(value, dict):
            return value in known
        each = [[found.get(name) for found in known if found] for name in value]
        whole = all(data in found for data, found in zip(value.values(), each, strict=True))
        return whole and value.keys() >= (before or {}).keys()

    def is_second(self, value: Any, fresh: bool) -> bool:
        expected = self.second[fresh]
        if isinstance(value, dict):
            return value.items() >= expected.items()
        return bool(value == expected)

    def trials(self, most: int) -> Iterator[Trial]:
        """At most so many kills of each start, and as many of the rest."""
        chance = random.Random(self.name)
        for fresh in (False, True):
            calls = self.calls[fresh]
            for at in _some(len(calls), most, chance):
                yield Trial("killed", Fault(at), fresh)
            torn = [k for k, call in enumerate(calls, 1) if call.size > 1 and call.name in GROWS]
            for at in _some(len(torn), most // 3, chance):
                yield Trial("torn", Fault(torn[at - 1], "tear"), fresh)
        size = sum(call.size for call in self.calls[False] if call.name in GROWS)
        for share in SHARES if most > 3 else chance.sample(SHARES, 1):
            yield Trial("disk full", Fault(space=int(share * size)), most < EVERY and share == 0)
        for what, fault in REFUSALS.items():
            can = [k for k, c in enumerate(self.calls[False], 1) if c.name in fault.names]
            for at in _some(len(can), max(1, most // 6), chance) if can else ():
                yield Trial(what, fault._replace(at=can[at - 1]), False)
        for fresh in (False, True):
            for at in _some(len(self.calls[fresh]), max(1, most // 3), chance):
                yield Trial("twice at once", Fault(at, "pause"), fresh)

    def losses(self, trial: Trial) -> Iterator[str]:
        """What went wrong."""
        ended = self.traced(trial.fresh, trial.fault, 2 if self.first == self.nothing else 1)
        if trial.what not in ("killed", "torn"):
            yield from self._of_error(trial, ended, self.read())
        elif ended.killed:  # else it wrote in another order
            yield from self._of_kill(trial, *self.again())

    def _of_kill(self, trial: Trial, found: Read, again: str, after: Read) -> Iterator[str]:
        if not self.is_whole(found.value, trial.fresh):
            yield "what is there is neither the old result nor the new one"
        if again and not self.is_second(found.value, trial.fresh):  # else refused: it is there
            yield f"the second run ends in: {again}"
        elif not again and not self.is_second(after.value, trial.fresh):
            yield "the second run does not give the new result"
        if after.left:
            yield f"{after.left} are left after the second run"

    def _of_error(self, trial: Trial, ended: Ended, found: Read) -> Iterator[str]:
        told, other = ended.value, ended.other or ""
        if not self.is_whole(found.value, trial.fresh):
            yield f"what is there is neither the old result nor the new one ({told})"
        for line in (told, other):
            if line.startswith("traceback") or "\n" in line:
                yield line
        if found.left and trial.what != "read-only":
            yield f"{found.left} are left ({told})"
        if trial.what == "twice at once":
            if told and other:
                yield f"both fail: {told} {other}"
        elif not told and not self.writer.silent and not self.is_second(found.value, trial.fresh):
            yield "it ends well, and the new result is not there"


def _some(count: int, most: int, chance: random.Random) -> list[int]:
    """Of the numbers from 1: the first, the last, and some between."""
    if count <= most:
        return list(range(1, count + 1))
    between = chance.sample(range(2, count), max(0, most - 2))
    return sorted({*between, 1, count} if most > 1 else {chance.randint(1, count)})


def examine(name: str, folder: Path, most: int) -> Found:
    """Try a writer in this process, which has no threads. most: of kills, or 0 for those of
    `examine_container` alone."""
    if not most:
        return examine_container(name, folder)
    writing = Writing(name, folder)
    return tried_of(name, writing, writing.trials(most))


def examine_container(name: str, folder: Path) -> Found:
    """Kill a writer at every rename over an earlier result, where each process has the number 1, as
    in a container that starts again."""
    one = SimpleNamespace(**vars(os) | {"getpid": lambda: 1})
    with patch.multiple(unfinished, os=one, _started=lambda process: str(os.getpid())):
        writing = Writing(name, folder)
        calls = enumerate(writing.calls[False], start=1)
        renames = [Fault(at) for at, call in calls if call.name.startswith("rename")]
        return tried_of(name, writing, [Trial("killed", fault, False) for fault in renames])


def tried_of(name: str, writing: Writing, trials: Iterable[Trial]) -> Found:
    """What comes of some trials."""
    tried, losses = Counter[str](), []
    for trial in trials:
        tried[trial.what] += 1
        start = "nothing" if trial.fresh else "an earlier result"
        for loss in writing.losses(trial):
            where = f"call {trial.fault.at}, " if trial.fault.at else ""
            calls = writing.calls[trial.fresh]
            call: Any = calls[trial.fault.at - 1] if trial.fault.at else ""
            losses.append(f"{name}, {trial.what}, {where}over {start}: {loss} {call}")
    return Found(len(writing.calls[False]), tried, losses)


def examined(name: str, folder: Path, most: int) -> Found:
    """The same in a process of its own."""
    reading, writing = forks().Pipe(duplex=False)
    child = forks().Process(target=_examine, args=(name, folder, most, writing))
    child.start()
    writing.close()
    try:
        found: Found | str = reading.recv()
    except EOFError:
        found = "the process ended"
    child.join()
    assert isinstance(found, Found), found
    return found


def _examine(name: str, folder: Path, most: int, writing: Connection) -> None:
    import traceback

    import torch

    torch.set_num_threads(1)
    try:
        writing.send(examine(name, folder, most))
    except BaseException:
        writing.send(traceback.format_exc())


def main(argv: Sequence[str], record: Path = RESULTS / "kills.json") -> int:
    """The rows of some writers, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("writers", nargs="*", metavar="WRITER")
    parser.add_argument("--most", type=int, default=EVERY, help="kills of each start")
    arguments = parser.parse_args(argv)
    about, lost = provenance(0, "cpu"), 0
    when = {key: about[key] for key in ("commit", "dirty", "date")}
    for name in arguments.writers or WRITERS:
        with TemporaryDirectory() as folder:
            found = examined(name, Path(folder), arguments.most)
        lost += len(found.losses)
        row = {"writer": name, "calls": found.calls, "tried": dict(found.tried)}
        keep(record, about, row | {"losses": len(found.losses)} | when)
        print(row, *found.losses, sep="\n", flush=True)
    return int(lost > 0)


def keep(record: Path, about: Record, row: Record) -> None:
    """A row in the place of that of the same writer, in the order of the writers."""
    rows = {r["writer"]: r for r in (read(record) or {"rows": []})["rows"]} | {row["writer"]: row}
    write(record, about | {"rows": [rows[name] for name in WRITERS if name in rows]})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
