"""Labels of many recordings in one file, so that only the first start opens each of them."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.arrays import read_npz
from egowm.data.episode import Episode, read_all
from egowm.files import whole
from egowm.paths import expanded

log = logging.getLogger(__name__)
VERSION = 1  # raised when any format's labels are computed differently
FEWEST = 500  # recordings; fewer are opened quickly
FOLDER = "~/.cache/egowm/labels"
ARRAYS = ("actions", "states", "times")


class Kept(NamedTuple):
    """The labels of one recording, as in `Episode`."""

    actions: np.ndarray
    states: np.ndarray
    times: np.ndarray


@dataclass(frozen=True)
class Index:
    """How the labels of a format are kept.

    about: all that they depend on besides the files of the recording (JSON). files: those of a
    recording; its labels are read again when the size or the time of one changes. remake: the
    episode of a name with kept labels.
    """

    about: Any
    files: Callable[[str], Sequence[Path]]
    remake: Callable[[str, Kept], Episode]


def read_indexed(
    title: str,
    names: Collection[str],
    read: Callable[[str], Episode],
    leave_out: Callable[[Exception], object] | None,
    index: Index,
) -> list[Episode]:
    """As `read_all`; of many recordings those that did not change come from the kept labels."""
    if len(names) < FEWEST:
        return read_all(title, names, read, leave_out)
    try:
        file = _file(title, index)
    except ValueError:  # no home, where labels could be kept
        return read_all(title, names, read, leave_out)
    stamps = {name: _stamp(index, name) for name in names}
    kept = _load(file, stamps)
    missing = [name for name in names if name not in kept]
    fresh = dict(read_all(title, missing, lambda name: (name, read(name)), leave_out))
    if fresh:
        _save(file, stamps, kept | {name: _labels(episode) for name, episode in fresh.items()})

    def episode(name: str) -> Episode:
        return fresh[name] if name in fresh else index.remake(name, kept[name])

    known = [name for name in names if name in fresh or name in kept]
    return read_all(f"{title}: kept", known, episode, leave_out)


def _labels(episode: Episode) -> Kept:
    return Kept(episode.actions, episode.states, episode.times)


def _file(title: str, index: Index) -> Path:
    about = json.dumps([VERSION, title, index.about], sort_keys=True)
    key = hashlib.sha256(about.encode()).hexdigest()[:24]
    return expanded(FOLDER) / f"{key}.npz"


def _stamp(index: Index, name: str) -> list[list[int]]:
    """Time and size of each file; empty where one is missing, which `read` will name."""
    try:
        return [[s.st_mtime_ns, s.st_size] for s in map(os.stat, index.files(name))]
    except (OSError, ValueError):
        return []


def _load(file: Path, stamps: Mapping[str, list[list[int]]]) -> dict[str, Kept]:
    """Kept labels of the recordings that are as they were; none where the file is damaged."""
    try:
        arrays = read_npz(file)
        rows = json.loads(arrays["rows"].tobytes())
        ends = np.cumsum([[0] * len(ARRAYS), *(row["lengths"] for row in rows)], 0).tolist()
        if [len(arrays[name]) for name in ARRAYS] != ends[-1]:
            raise ValueError("arrays of other lengths")
        return {
            row["name"]: Kept(*(arrays[n][a:b] for n, a, b in zip(ARRAYS, *part, strict=True)))
            for row, *part in zip(rows, ends, ends[1:], strict=False)
            if row["stamp"] and stamps.get(row["name"]) == row["stamp"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        log.warning("%s is damaged (%s): labels are read again", file, error)
        return {}


def _save(file: Path, stamps: Mapping[str, list[list[int]]], labels: Mapping[str, Kept]) -> None:
    """Whole or not at all; a folder that cannot be written costs time, nothing else."""
    rows = [
        {"name": name, "stamp": stamps[name], "lengths": [len(part) for part in kept]}
        for name, kept in labels.items()
    ]
    arrays = {}
    for number, name in enumerate(ARRAYS):
        parts = [kept[number] for kept in labels.values() if kept[number].size]
        empty = next(iter(labels.values()))[number][:0]
        arrays[name] = np.concatenate(parts) if parts else empty
    actions, states, times = (arrays[name] for name in ARRAYS)
    written = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    try:
        with whole(file) as temporary:
            np.savez(temporary, rows=written, actions=actions, states=states, times=times)
    except OSError as error:
        log.warning("%s: labels are not kept (%s): every start reads them all", file, error)
