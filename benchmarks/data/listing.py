"""How long it takes until training can begin on many episodes, and what memory they take.

One small episode is written and linked under many names: listing does for each what it does for a
real one (labels read and checked, frames counted), without the disk space.
"""

import gc
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.forms import FORMS, lerobot, recordings
from egowm.data import ClipData, Packed, Window, label_index
from egowm.data.episode import Episode
from egowm.data.packing import pack

LENGTH, SIZE, READ = 64, 16, 512
WINDOW = Window(1, 15, 1, SIZE, SIZE)
NAMES = ("NWM", "Recon", "VideoCSV", "LeRobot", "Packed")


def listing(folder: Path, count: int) -> list[dict[str, Any]]:
    """Core seconds from the constructor to the list of clips, first and again, and the memory
    taken. Labels are kept in `folder`."""
    label_index.FOLDER = str(folder / "kept")
    rows = []
    for name in NAMES:
        root = folder / name
        write(name, root, count)
        before = resident_mb()
        taken = []
        for _ in range(2):
            start = time.process_time()
            windows = open_form(name, root).windows("train", tiled=False)
            taken.append(time.process_time() - start)
        if len(windows.episodes) != count:
            raise ValueError(f"{name}: expected {count} episodes, got {len(windows.episodes)}.")
        listed = resident_mb()
        for item in np.linspace(0, len(windows) - 1, READ).astype(int).tolist():
            windows[item]
        row = {"form": name, "episodes": count, "seconds": taken[0], "again": taken[1]}
        row |= {"memory_mb": listed - before, "growth_mb": resident_mb() - listed, "read": READ}
        rows.append(row)
        del windows
        shutil.rmtree(root)
    return rows


def open_form(name: str, root: Path) -> ClipData:
    return Packed(str(root), WINDOW) if name == "Packed" else FORMS[name].open(str(root), WINDOW)


def write(name: str, root: Path, count: int) -> None:
    """`count` episodes of a form."""
    made = recordings(1, LENGTH, SIZE, 0)
    first = made[0].name
    if name == "Packed":
        pack(Same(made[0].frames, made[0].poses, count), root, (SIZE, SIZE), progress=False)
        return
    if name == "LeRobot":
        lerobot(root, made)
        _repeat_lerobot(root, count)
        return
    FORMS[name].write(root / "kept", made)
    kept = root / "kept"
    suffixes = {"NWM": ("",), "Recon": (".hdf5",), "VideoCSV": (".csv", ".mp4")}[name]
    for number in range(count):
        for suffix in suffixes:
            os.symlink(kept / f"{first}{suffix}", root / f"episode_{number:06d}{suffix}")


def _repeat_lerobot(root: Path, count: int) -> None:
    """The table and the video of episode 0 under all numbers."""
    import pyarrow as pa
    from pyarrow import parquet

    line = (root / "meta/episodes.jsonl").read_text()
    rows = [line.replace('"episode_index": 0', f'"episode_index": {k}') for k in range(count)]
    (root / "meta/episodes.jsonl").write_text("".join(rows))
    table = parquet.read_table(root / "data/episode_000000.parquet")
    column = table.column_names.index("episode_index")
    for number in range(1, count):
        name = f"episode_{number:06d}"
        numbers = pa.array(np.full(len(table), number))
        parquet.write_table(
            table.set_column(column, "episode_index", numbers), root / f"data/{name}.parquet"
        )
        os.symlink(root / "videos/front/episode_000000.mp4", root / f"videos/front/{name}.mp4")


class Same(ClipData):
    """One episode under many names."""

    meaning = FORMS["NWM"].open("", WINDOW).meaning

    def __init__(self, frames: np.ndarray, poses: np.ndarray, count: int) -> None:
        super().__init__("", WINDOW)
        self.frames, self.poses, self.count = frames, poses, count

    def episodes(self, split: str) -> list[Episode]:
        steps = np.diff(self.poses, axis=0).astype(np.float32)
        names = [f"episode_{k:06d}" for k in range(self.count)] if split == "train" else []
        return [Episode(n, LENGTH, lambda chosen: self.frames[list(chosen)], steps) for n in names]


def resident_mb() -> float:
    """Memory of this process that is not shared with files."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / 1e6
