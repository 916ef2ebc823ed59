"""Ways to keep frames for the quickest reading: what decided how a pack is stored.

Each gives one clip (T, 3, H, W) uint8 from a file that it opens and closes, as a loader's worker
does when there are too many files to keep open.
"""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np

from benchmarks.data.forms import jpeg
from egowm.data.packed import HEADER, read_frames
from egowm.video import decode_image

Read = Callable[[int], np.ndarray]
CALLS = 20


def choices(folder: Path, frames: np.ndarray, span: int) -> list[dict[str, Any]]:
    """Core milliseconds for `span` frames out of frames (N, H, W, 3), and bytes a frame, of each
    way. Raises ValueError where one gives other frames (JPEG: by more than its loss)."""
    folder.mkdir(parents=True)
    rows = []
    starts = np.linspace(0, len(frames) - span, CALLS).astype(int).tolist()
    for name, (read, size) in _ways(folder, frames, span).items():
        wanted = frames[starts[1] : starts[1] + span].transpose(0, 3, 1, 2).astype(int)
        if not np.abs(read(starts[1]) - wanted).mean() <= (4 if "JPEG" in name else 0):
            raise ValueError(f"Not timed: {name} gives other frames.")
        taken = []
        for start in starts:
            begin = time.process_time()
            read(start)
            taken.append(1000 * (time.process_time() - begin))
        rows.append({"way": name, "milliseconds": median(taken), "bytes": size / len(frames)})
    return rows


def _ways(folder: Path, frames: np.ndarray, span: int) -> dict[str, tuple[Read, int]]:
    """By name: how a clip is read from its first frame on, and the bytes of the file."""
    first, last = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), frames
    shape = first.shape
    for name, values in (("first", first), ("last", last)):
        np.save(folder / f"{name}.npy", values)
        with h5py.File(folder / f"{name}.h5", "w") as out:
            out["frames"] = values
    encoded = [jpeg(frame) for frame in frames]
    ends = np.cumsum([0, *map(len, encoded)]).tolist()
    (folder / "all.jpegs").write_bytes(b"".join(encoded))
    if (folder / "first.npy").stat().st_size != HEADER + first.nbytes:
        raise ValueError("Not timed: NumPy writes another header here.")

    def mapped(start: int) -> np.ndarray:
        return np.array(np.load(folder / "first.npy", mmap_mode="r")[start : start + span])

    def packed(start: int) -> np.ndarray:
        read = read_frames(folder / "first.npy", shape, range(start, start + span))
        return np.ascontiguousarray(read.transpose(0, 3, 1, 2))

    def turned(start: int) -> np.ndarray:
        mine = np.array(np.load(folder / "last.npy", mmap_mode="r")[start : start + span])
        return np.ascontiguousarray(mine.transpose(0, 3, 1, 2))

    def hdf5(name: str, start: int) -> np.ndarray:
        with h5py.File(folder / f"{name}.h5", "r") as held:
            mine = held["frames"][start : start + span]
        return mine if name == "first" else np.ascontiguousarray(mine.transpose(0, 3, 1, 2))

    def pictures(start: int) -> np.ndarray:
        with (folder / "all.jpegs").open("rb") as held:
            held.seek(ends[start])
            data = held.read(ends[start + span] - ends[start])
        cuts = [end - ends[start] for end in ends[start : start + span + 1]]
        found = [decode_image(data[a:b]) for a, b in pairwise(cuts)]
        return np.ascontiguousarray(np.stack(found).transpose(0, 3, 1, 2))

    raw = first.nbytes
    return {
        "npy, channels first, one read (the pack)": (packed, raw),
        "npy, channels first, memory-mapped": (mapped, raw),
        "npy, channels last, memory-mapped": (turned, raw),
        "HDF5, channels first": (lambda start: hdf5("first", start), raw),
        "HDF5, channels last": (lambda start: hdf5("last", start), raw),
        "JPEG in one file with an index": (pictures, ends[-1]),
    }
