"""Ways to keep frames for the quickest reading: what decided how a pack is stored.

Each gives one clip (T, 3, H, W) uint8 from a file that it opens and closes, as a loader's worker
does when there are too many files to keep open.
"""

import time
from collections.abc import Callable
from functools import partial
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
    orders = {"first": np.ascontiguousarray(frames.transpose(0, 3, 1, 2)), "last": frames}
    for order, values in orders.items():
        np.save(folder / f"{order}.npy", values)
        with h5py.File(folder / f"{order}.h5", "w") as out:
            out["frames"] = values
    encoded = [jpeg(frame) for frame in frames]
    ends = np.cumsum([0, *map(len, encoded)]).tolist()
    (folder / "all.jpegs").write_bytes(b"".join(encoded))
    first, raw = orders["first"], frames.nbytes
    if (folder / "first.npy").stat().st_size != HEADER + raw:
        raise ValueError("Not timed: NumPy writes another header here.")

    def packed(start: int) -> np.ndarray:
        return turned(read_frames(folder / "first.npy", first.shape, range(start, start + span)))

    def mapped(order: str, start: int) -> np.ndarray:
        mine = np.array(np.load(folder / f"{order}.npy", mmap_mode="r")[start : start + span])
        return mine if order == "first" else turned(mine)

    def hdf5(order: str, start: int) -> np.ndarray:
        with h5py.File(folder / f"{order}.h5", "r") as held:
            mine = held["frames"][start : start + span]
        return mine if order == "first" else turned(mine)

    def pictures(start: int) -> np.ndarray:
        with (folder / "all.jpegs").open("rb") as held:
            held.seek(ends[start])
            data = held.read(ends[start + span] - ends[start])
        cuts = [end - ends[start] for end in ends[start : start + span + 1]]
        return turned(np.stack([decode_image(data[a:b]) for a, b in pairwise(cuts)]))

    return {
        "npy, channels first, one read (the pack)": (packed, raw),
        "npy, channels first, memory-mapped": (partial(mapped, "first"), raw),
        "npy, channels last, memory-mapped": (partial(mapped, "last"), raw),
        "HDF5, channels first": (partial(hdf5, "first"), raw),
        "HDF5, channels last": (partial(hdf5, "last"), raw),
        "JPEG in one file with an index": (pictures, ends[-1]),
    }


def turned(frames: np.ndarray) -> np.ndarray:
    """Channels last (T, H, W, 3) as channels first."""
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
