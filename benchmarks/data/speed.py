"""Clips a second that each data format gives, beside plain torch Datasets and beside the pack.

All readers read the same clips of the same made-up episodes in this process, in batches of 8 put
together as each library's own loaders do, in rounds, so that a slow moment of the machine hits all
of them. Warm: files lie in memory; seconds are those that a core worked, as each loader process
gives them. Cold: the system was told to drop the files (posix_fadvise) before each pass; seconds
are the clock's.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate
from tqdm import tqdm

from benchmarks.data.choices import choices
from benchmarks.data.forms import FORMS, Recording, nwm, recordings, videos
from benchmarks.data.listing import listing
from benchmarks.data.peers import Chosen, Reader, files_in, plain_readers
from benchmarks.data.stable_worldmodel import readers as stable_worldmodel
from benchmarks.measure import Record, benchmark, picked, positive, provenance, write
from benchmarks.tables import data
from egowm.data import Packed, Window
from egowm.data.packing import pack
from egowm.data.reading import collate

BATCH = 8
LEAST_SECONDS = 0.2  # a pass that is shorter is repeated within one timing
DIFFERENCE = 10.0  # grey levels: what compression and another decoder may change on average
TARGET = 2.0  # packed against the fastest of the others
PACKED = "Packed"


PACKAGES = ("torch", "numpy", "h5py", "decord", "pyarrow", "stable-worldmodel")


def options(add: Callable[..., Any]) -> None:
    add("--sizes", type=positive, nargs="+", default=[64, 256], help="of clips, pixels")
    add("--episodes", type=positive, default=8)
    add("--length", type=positive, default=48, help="frames of an episode, 256x256")
    add("--clips", type=positive, default=16, help="read in one pass")
    add("--frames", type=positive, default=16, help="of a clip")
    add("--rounds", type=positive, default=5)
    add("--listed", type=positive, default=10_000, help="episodes of the listing")


def run(arguments: argparse.Namespace) -> Record:
    """The record: provenance, settings, rows, choices, listing."""
    if not 2 <= arguments.frames <= arguments.length:
        raise ValueError("Expected --frames of at least 2, and --length of no less.")
    record = provenance(arguments.seed, "cpu", PACKAGES)
    names = ("episodes", "length", "clips", "frames", "rounds", "listed")
    record["settings"] = picked(arguments, *names)
    record["settings"] |= {"recorded": 256, "batch": BATCH, "dtype": "uint8", "target": TARGET}
    record["rows"] = []
    made = recordings(arguments.episodes, arguments.length, 256, arguments.seed)
    with tempfile.TemporaryDirectory(prefix="egowm_data_") as name:
        folder = Path(name)
        for form in tqdm(FORMS, "writing episodes"):
            FORMS[form].write(folder / form, made)
        nwm(folder / "pictures", made)
        videos(folder / "videos", made)
        for size in arguments.sizes:
            readers, record["not_measured"] = _readers(arguments, folder, made, size)
            check_same(readers)
            record["rows"] += measure(readers, size, arguments)
        record["choices"] = choices(folder / "choices", made[0].frames, arguments.frames)
        write(arguments.file, record)  # the listing takes long: what was measured is safe
        return record | {"listing": listing(folder / "listing", arguments.listed)}


def _readers(
    arguments: argparse.Namespace, folder: Path, made: list[Recording], size: int
) -> tuple[list[Reader], dict[str, str]]:
    """egowm's formats, the pack, plain Datasets and stable-worldmodel's, on the same clips; and
    why others have no figure, by name."""
    found, count = [], arguments.clips
    window = Window(1, arguments.frames - 1, 1, size, size)
    chosen: list[int] = []
    starts: list[tuple[int, int]] = []
    for name, form in FORMS.items():
        windows = form.open(str(folder / name), window).windows("train", tiled=False)
        if not chosen:
            rng = np.random.default_rng(arguments.seed)
            chosen = rng.choice(len(windows), count, len(windows) < count).tolist()
            starts = [(int(i), int(s)) for i, s in windows.index[chosen]]
        if [tuple(row) for row in windows.index[chosen].tolist()] != starts:
            raise ValueError(f"Not timed: the clips of {name} are others.")
        found.append(Reader(name, form.files, Subset(windows, chosen), files_in(folder / name)))
    output = folder / f"pack_{size}"
    pack(FORMS["NWM"].open(str(folder / "NWM"), window), output, (size, size), progress=False)
    windows = Packed(str(output), window).windows("train", tiled=False)
    found.append(Reader(PACKED, "uint8", Subset(windows, chosen), files_in(output)))
    about = Chosen(made, starts, arguments.frames, size)
    theirs, missing = stable_worldmodel(folder / "theirs", folder / "videos", about)
    return [*found, *plain_readers(folder, about), *theirs], missing


def check_same(readers: Sequence[Reader]) -> None:
    """Raises ValueError unless all read the same clips, up to compression."""
    shown = [_frames(reader.clips[0]).float() for reader in readers]
    if (shown[0][0] - shown[0][-1]).abs().mean() < DIFFERENCE:
        raise ValueError("Not timed: the picture hardly moves, so that agreement proves nothing.")
    for reader, frames in zip(readers, shown, strict=True):
        if frames.shape != shown[0].shape:
            raise ValueError(f"Not timed: {reader.name} gives frames {tuple(frames.shape)}.")
        difference = (frames - shown[0]).abs().mean().item()
        if difference > DIFFERENCE:
            raise ValueError(f"Not timed: {reader.name} is off by {difference:.1f} grey levels.")
        middle = len(frames) // 2
        nearest = int((shown[0] - frames[middle]).abs().mean((1, 2, 3)).argmin())
        if nearest != middle:
            raise ValueError(f"Not timed: frame {middle} of {reader.name} is frame {nearest}.")


def measure(readers: Sequence[Reader], size: int, arguments: argparse.Namespace) -> list[Record]:
    """Rounds of all readers; clips a second are medians, ratios are taken round by round."""
    loaders = [loader_of(reader) for reader in readers]
    calls = [max(1, round(LEAST_SECONDS / _pass(loader, time.process_time))) for loader in loaders]
    warm = np.zeros((arguments.rounds, len(readers)))
    cold = np.zeros_like(warm)
    for number in tqdm(range(arguments.rounds), f"{size}x{size}", unit="round"):
        for k in np.roll(np.arange(len(readers)), number).tolist():
            _drop(readers[k].files)
            cold[number, k] = arguments.clips / _pass(loaders[k], time.perf_counter)
            taken = [_pass(loaders[k], time.process_time) for _ in range(calls[k])]
            warm[number, k] = arguments.clips / float(np.mean(taken))
    packed = [reader.name for reader in readers].index(PACKED)
    frames, rows = arguments.episodes * arguments.length, []
    for k, reader in enumerate(readers):
        row = {"size": size, "reader": reader.name, "form": reader.form}
        row |= {"warm": _median(warm[:, k]), "cold": _median(cold[:, k])}
        row["packed_faster_warm"] = _median(warm[:, packed] / warm[:, k])
        row["packed_faster_cold"] = _median(cold[:, packed] / cold[:, k])
        row["faster_than"] = _against(reader, readers, warm[:, k], warm)
        row["bytes_per_frame"] = sum(file.stat().st_size for file in reader.files) / frames
        rows.append(row)
    return rows


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def loader_of(reader: Reader) -> DataLoader[Any]:
    """Batches in one order for all, put together as its library's own loaders do."""
    ours = reader.name in (*FORMS, PACKED)
    return DataLoader(reader.clips, BATCH, collate_fn=collate if ours else default_collate)


def _against(
    reader: Reader, readers: Sequence[Reader], own: np.ndarray, warm: np.ndarray
) -> dict[str, float]:
    """How much faster egowm is than each other reader of the same kind of file."""
    if reader.name not in FORMS:
        return {}
    others = [k for k, r in enumerate(readers) if r.name not in FORMS and r.form == reader.form]
    return {readers[k].name: _median(own / warm[:, k]) for k in others}


def _pass(loader: DataLoader[Any], clock: Callable[[], float]) -> float:
    """Seconds of one pass over the chosen clips."""
    start = clock()
    for batch in loader:
        _frames(batch)
    return clock() - start


def _frames(item: Any) -> Tensor:
    """The frames of a Clip or of a plain pair."""
    frames = item[0]
    assert isinstance(frames, Tensor)
    assert frames.dtype == torch.uint8
    return frames


def _drop(files: Sequence[Path]) -> None:
    """Tell the system to forget what it holds of these files."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def tables(results: Path) -> str:
    return "\n\n".join(table(results) for table in (data.speed, data.stored, data.listing))


main = benchmark(__file__, __doc__, "data.json", options, run, tables, device=False)
if __name__ == "__main__":
    sys.exit(main())
