"""Training steps from a latent cache beside the same steps from pixels, and how far losses differ.

Both sides read the same clips of the embedded rooms in this process and take loss and gradient of
the same network with the same noise, in turns.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from tqdm import tqdm

from benchmarks.measure import ROOT, Record, benchmark, picked, positive, provenance, read
from benchmarks.tables import markdown
from benchmarks.tables.markdown import Columns, lines_of, ratio
from benchmarks.timing import compare
from egowm.backbones import SVD
from egowm.data import Clip, Rooms, Window
from egowm.training.latents.callback import Opened
from egowm.training.latents.writer import LatentWriter
from egowm.world_model import WorldModel

BATCH = 8
CASES = {"as it is": None, "with noise": -3.0}  # noise_mean: whether the context is encoded anew
PRIOR = ROOT / "priors/rooms-svd"


def options(add: Callable[..., Any]) -> None:
    add("--prior", type=Path, default=PRIOR, help="a folder of the SVD family")
    add("--size", type=positive, default=64, help="of the frames, pixels")
    add("--horizon", type=positive, default=8, help="future frames of a clip")
    add("--episodes", type=positive, default=4)
    add("--batches", type=positive, default=16, help="whose losses are compared")
    add("--repeats", type=positive, default=5)


def run(arguments: argparse.Namespace) -> Record:
    record = provenance(arguments.seed, arguments.device, weights=[arguments.prior])
    record |= picked(arguments, "horizon", "size") | {"batch_size": BATCH}
    with tempfile.TemporaryDirectory() as folder:
        rows = [case(name, noise, Path(folder), arguments) for name, noise in CASES.items()]
    return record | {"rows": rows}


def case(name: str, noise_mean: float | None, folder: Path, args: argparse.Namespace) -> Record:
    """One row: speed, differences of the loss, bytes."""
    torch.manual_seed(0)
    window = Window(1, args.horizon, 1, args.size, args.size)
    counts = {"episodes_train": args.episodes, "episodes_val": 1, "num_frames": 33}
    data = Rooms(str(folder / "rooms"), window, BATCH, **counts)
    model = WorldModel(SVD(str(args.prior), noise_mean=noise_mean), spec=data.spec)
    model.configure_model()
    model.train().to(args.device)
    written: dict[str, int] = {}
    clips: dict[str, Dataset[Clip]] = {"pixels": data.windows("train", tiled=False)}
    for dtype in ("float32", "float16"):
        output = folder / f"{name}-{dtype}"
        writer = LatentWriter(model.backbone, data, dtype, args.device)
        writer.write(output, batch_size=32, progress=False)
        written[dtype] = writer.bytes_per_row
        windows = data.windows("train", tiled=False)
        windows.known = Opened(output, model.backbone).of(windows)
        clips[dtype] = windows

    def loss(side: str, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        size = len(clips[side])  # type: ignore[arg-type]
        chosen = torch.randint(size, (BATCH,), generator=generator).tolist()
        clip = Clip(*default_collate([clips[side][k] for k in chosen]))
        return model.loss(clip.to(args.device), generator)[0]

    def step(side: str) -> Tensor:
        model.zero_grad()
        total = loss(side, 0)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.no_grad():
        losses = {
            side: torch.stack([loss(side, k) for k in tqdm(range(args.batches), side)])
            for side in clips
        }
    off = {
        dtype: float((losses[dtype] / losses["pixels"] - 1).abs().max())
        for dtype in ("float32", "float16")
    }
    for side in ("float16", "pixels"):
        step(side)
    timing = compare(lambda: step("float16"), lambda: step("pixels"), args.repeats)
    return {
        "context": name,
        "bytes_a_frame": written["float16"],
        "largest_difference_float32": off["float32"],
        "largest_difference_float16": off["float16"],
        **timing._asdict(),
    }


def table(results: Path) -> str:
    """Of this record, which no page shows."""
    record = read(results / "latent_cache.json")
    columns: Columns = {
        "context": lambda r: str(r["context"]),
        "bytes a frame": lambda r: str(r["bytes_a_frame"]),
        "loss differs by at most, float32": lambda r: f"{r['largest_difference_float32']:.2g}",
        "float16": lambda r: f"{r['largest_difference_float16']:.2g}",
        "times as fast as from pixels": ratio,
    }
    return markdown.table(columns, lines_of(columns, record["rows"] if record else []))


main = benchmark(__file__, __doc__, "latent_cache.json", options, run, table)
if __name__ == "__main__":
    sys.exit(main())
