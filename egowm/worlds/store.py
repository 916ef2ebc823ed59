"""Recordings on disk, one folder each: whole, or not there. Light enough for worker processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from egowm.arrays import read_npz
from egowm.checksums import is_changed, sum_of, write_sums
from egowm.files import whole
from egowm.worlds.motion import Disturbances
from egowm.worlds.recording import record
from egowm.worlds.rooms import Style

# Raised when a world draws or moves differently; recordings of another version are made again.
WORLD_VERSION = {"robot": 2, "passive": 1, "navigation": 1, "manipulation": 1}


def read_frames(folder: Path, indices: Sequence[int]) -> np.ndarray:
    """Frames (n, H, W, 3) of a stored recording."""
    with _told(folder, "frames.npy") as file:
        return np.array(np.load(file, mmap_mode="r")[list(indices)])


def read_ids(folder: Path, index: int) -> np.ndarray:
    """Ids (H, W) uint8 of one frame."""
    with _told(folder, "ids.npy") as file:
        return np.array(np.load(file, mmap_mode="r")[index])


def read_labels(folder: Path) -> dict[str, np.ndarray]:
    """Of a room: commanded and realised actions (N-1, 3) and cameras (N, 6). Of a humanoid: states
    (N, 25) and positions (N, Q)."""
    with _told(folder, "labels.npz") as file:
        return read_npz(file)


@contextmanager
def _told(folder: Path, name: str) -> Iterator[Path]:
    """A file that is what was written; whatever is wrong with it is told with what to do."""
    try:
        if is_changed(folder, name):
            raise ValueError("it was changed after it was written")
        yield folder / name
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise ValueError(
            f"{folder / name} is missing or damaged ({error}). Delete the folder {folder}: the "
            f"room is drawn again when it is needed."
        ) from error


def make_recording(
    root: Path,
    style: Style,
    num_frames: int,
    size: tuple[int, int],
    disturbances: Disturbances,
    papers: str,
    seed: int,
) -> None:
    """Draw the room of `seed` into the folder `root/room_<seed>`."""
    made = record(seed, style, num_frames, size[0], size[1], disturbances, papers)
    labels = {"commanded": made.commanded, "realised": made.realised, "cameras": made.cameras}
    keep(root / f"room_{seed}", made.frames, made.ids, labels)


def keep(folder: Path, frames: np.ndarray, ids: np.ndarray, labels: dict[str, Any]) -> None:
    """Write a recording as a whole. Several workers may make the same one: the first wins, all are
    equal."""
    try:
        with whole(folder) as temporary:
            temporary.mkdir()
            np.save(temporary / "frames.npy", frames)
            np.save(temporary / "ids.npy", ids)
            np.savez(temporary / "labels.npz", **labels)
            write_sums(temporary, {path.name: sum_of(path) for path in temporary.iterdir()})
    except OSError:
        if not folder.is_dir():  # not a lost race: a full disk, a missing permission
            raise


def make_recordings(make: Callable[[int], None], seeds: Sequence[int]) -> Iterator[None]:
    """Make the room of each seed, on all cores when there are many; yields as they are done.

    make: `make_recording`, or that of another world, with all but the seed given.
    """
    workers = min(os.cpu_count() or 1, 1 + len(seeds) // 32)
    if workers == 1:
        yield from map(make, seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make, seeds, chunksize=4)
