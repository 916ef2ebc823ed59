"""Clips a second that each data format gives, beside plain torch Datasets and beside the pack.

    python -m benchmarks.data.speed            # measures, writes benchmarks/results/data.json

All readers read the same clips of the same made-up episodes in this process, in batches of 8 put
together as each library's own loaders do, in rounds, so that a slow moment of the machine hits all
of them. Warm: files lie in memory; seconds
are those that a core worked for it, so that the figure is what each loader process gives. Cold: the
system was told to drop the files (posix_fadvise) before each pass; seconds are the clock's.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate
from tqdm import tqdm

from benchmarks.data.choices import choices
from benchmarks.data.forms import FORMS, Recording, nwm, recordings, videos
from benchmarks.data.listing import listing
from benchmarks.data.peers import Chosen, PlainArrays, PlainPictures, PlainVideos, write_arrays
from benchmarks.data.stable_worldmodel import readers as stable_worldmodel
from benchmarks.measure import RESULTS, provenance, write
from egowm.data import Packed, Window
from egowm.data.packing import pack
from egowm.data.reading import collate

BATCH = 8
LEAST_SECONDS = 0.2  # a pass that is shorter is repeated within one timing
DIFFERENCE = 10.0  # grey levels: what compression and another decoder may change on average
TARGET = 2.0  # packed against the fastest of the others
PACKED = "Packed"


PACKAGES = ("torch", "numpy", "h5py", "decord", "pyarrow", "stable-worldmodel")


class Reader(NamedTuple):
    """Who reads what: `clips` are the chosen ones, `files` what lies behind them."""

    name: str
    form: str
    clips: Dataset[Any]
    files: list[Path]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the record and print its rows."""
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], help="of clips, pixels")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--length", type=int, default=48, help="frames of an episode, 256x256")
    parser.add_argument("--clips", type=int, default=16, help="read in one pass")
    parser.add_argument("--frames", type=int, default=16, help="of a clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--listed", type=int, default=10_000, help="episodes of the listing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS / "data.json")
    args = parser.parse_args(argv)
    if min(args.clips, args.rounds, args.episodes, args.listed) < 1 or args.frames < 2:
        parser.error("clips, rounds, episodes and listed are at least 1, frames at least 2")
    if args.length < args.frames:
        parser.error(f"length {args.length} holds no clip of {args.frames} frames")
    with tempfile.TemporaryDirectory(prefix="egowm_data_") as folder:
        record = run(args, Path(folder))
        write(args.json, record)  # the listing takes long: what was measured before it is safe
        record["listing"] = listing(Path(folder) / "listing", args.listed)
    write(args.json, record)
    for row in record["rows"]:
        print(
            f"{row['size']:4d}  {row['reader']:14} {row['form']:14} {row['warm']:8.1f}/core s, "
            f"cold {row['cold']:9.1f}; {row['bytes_per_frame']:8.0f} bytes a frame"
        )
    for row in record["choices"]:
        print(f"{row['way']:42} {row['milliseconds']:7.3f} ms a clip, {row['bytes']:.0f} bytes")
    for row in record["listing"]:
        print(f"{row['form']:14} listed in {row['seconds']:.2f} s, again {row['again']:.2f} s")
    print(args.json)
    return 0


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The record without the listing: provenance, settings, rows, choices."""
    record = provenance(args.seed, "cpu", PACKAGES)
    names = ("episodes", "length", "clips", "frames", "rounds", "listed")
    record["settings"] = {name: getattr(args, name) for name in names}
    record["settings"] |= {"recorded": 256, "batch": BATCH, "dtype": "uint8", "target": TARGET}
    made = recordings(args.episodes, args.length, 256, args.seed)
    for name, form in tqdm(FORMS.items(), "writing episodes"):
        form.write(folder / name, made)
    nwm(folder / "pictures", made)
    videos(folder / "videos", made)
    record["rows"] = []
    for size in args.sizes:
        readers, record["not_measured"] = _readers(args, folder, made, size)
        check_same(readers)
        record["rows"] += measure(readers, size, args)
    record["choices"] = choices(folder / "choices", made[0].frames, args.frames)
    return record


def _readers(
    args: argparse.Namespace, folder: Path, made: list[Recording], size: int
) -> tuple[list[Reader], dict[str, str]]:
    """egowm's formats, the pack, plain Datasets and stable-worldmodel's, on the same clips; and
    why others have no figure, by name."""
    found = []
    window = Window(1, args.frames - 1, 1, size, size)
    rng = np.random.default_rng(args.seed)
    chosen: list[int] = []
    starts: list[tuple[int, int]] = []
    for name, form in FORMS.items():
        windows = form.open(str(folder / name), window).windows("train", tiled=False)
        if not chosen:
            chosen = rng.choice(len(windows), args.clips, len(windows) < args.clips).tolist()
            starts = [(int(i), int(s)) for i, s in windows.index[chosen]]
        if [tuple(row) for row in windows.index[chosen].tolist()] != starts:
            raise ValueError(f"Not timed: the clips of {name} are others.")
        found.append(Reader(name, form.files, Subset(windows, chosen), _files(folder / name)))
    output = folder / f"pack_{size}"
    pack(FORMS["NWM"].open(str(folder / "NWM"), window), output, (size, size), progress=False)
    windows = Packed(str(output), window).windows("train", tiled=False)
    found.append(Reader(PACKED, "uint8", Subset(windows, chosen), _files(output)))
    about = Chosen(made, starts, args.frames, size)
    pictures, shown = folder / "pictures", folder / "videos"
    found.append(Reader("plain, PIL", "JPEG", PlainPictures(pictures, about), _files(pictures)))
    found.append(Reader("plain, decord", "mp4", PlainVideos(shown, about), _files(shown)))
    arrays = write_arrays(folder / "arrays", made, size)
    found.append(Reader("plain, h5py", "uint8 in HDF5", PlainArrays(arrays, about), [arrays]))
    theirs, missing = stable_worldmodel(folder / "theirs", shown, about)
    return found + [Reader(*reader) for reader in theirs], missing


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


def measure(readers: Sequence[Reader], size: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rounds of all readers; clips a second are medians, ratios are taken round by round."""
    loaders = [loader_of(reader) for reader in readers]
    calls = [max(1, round(LEAST_SECONDS / _pass(loader, time.process_time))) for loader in loaders]
    warm = np.zeros((args.rounds, len(readers)))
    cold = np.zeros_like(warm)
    for number in tqdm(range(args.rounds), f"{size}x{size}", unit="round"):
        for k in np.roll(np.arange(len(readers)), number):
            _drop(readers[k].files)
            cold[number, k] = args.clips / _pass(loaders[k], time.perf_counter)
            taken = [_pass(loaders[k], time.process_time) for _ in range(calls[k])]
            warm[number, k] = args.clips / float(np.mean(taken))
    packed = [reader.name for reader in readers].index(PACKED)
    frames = args.episodes * args.length
    return [
        {
            "size": size,
            "reader": reader.name,
            "form": reader.form,
            "warm": median(warm[:, k].tolist()),
            "cold": median(cold[:, k].tolist()),
            "packed_faster_warm": median((warm[:, packed] / warm[:, k]).tolist()),
            "packed_faster_cold": median((cold[:, packed] / cold[:, k]).tolist()),
            "faster_than": _against(reader, readers, warm[:, k], warm),
            "bytes_per_frame": sum(file.stat().st_size for file in reader.files) / frames,
        }
        for k, reader in enumerate(readers)
    ]


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
    return {readers[k].name: median((own / warm[:, k]).tolist()) for k in others}


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


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _drop(files: Sequence[Path]) -> None:
    """Tell the system to forget what it holds of these files."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
