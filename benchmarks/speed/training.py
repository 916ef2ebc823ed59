"""How fast a training step is and what it takes, for each way of training; each in its own process.

On a CPU the committed prior, on a card SVD and Cosmos 2B in their published sizes, with random
weights. Speed is compared within one run; peak memory with what `egowm memory` foretells.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.measure import RESULTS, ROOT, provenance, write
from benchmarks.speed.training_rows import CPU, CUDA, Row

MODULE = "benchmarks.speed.training_row"


def measured(
    row: Row, steps: int, warmup: int, device: str, folder: Path, seed: int
) -> dict[str, Any]:
    """A row's record; raises ValueError with the last line of what went wrong."""
    words = [json.dumps(row.key), steps, warmup, device, folder, seed]
    done = subprocess.run(
        [sys.executable, "-m", MODULE, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise ValueError(f"{row.name}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return row.key | json.loads(done.stdout.strip().splitlines()[-1])


def run(rows: Sequence[Row], arguments: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The record: provenance, settings, rows; written after each row, as one may take minutes."""
    packages = ("torch", "lightning", "diffusers")
    prior = [ROOT / "priors/rooms-svd"] if arguments.device == "cpu" else []
    record = provenance(arguments.seed, arguments.device, packages, weights=prior)
    record["settings"] = {"steps": arguments.steps, "warmup": arguments.warmup}
    record["load_average"] = round(os.getloadavg()[0], 2)  # of the machine before it began
    record["rows"], record["failed"] = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for row in tqdm(rows, "ways of training"):
            options = (arguments.steps, arguments.warmup, arguments.device, Path(folder))
            try:
                record["rows"].append(measured(row, *options, arguments.seed))
            except ValueError as error:
                record["failed"][row.name] = str(error)
            write(path, record)
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    parser.add_argument("--steps", type=int, default=8, help="timed steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/training[-gpu].json")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each row, write the JSON file; 2 where a row could not be."""
    arguments = _parser().parse_args(argv)
    rows = [r for r in (CPU if arguments.device == "cpu" else CUDA) if arguments.only in r.name]
    if not rows or arguments.steps < 1 or arguments.warmup < 1:
        print(
            "benchmarks/speed/training.py: expected --only to name a row, --steps and "
            "--warmup of at least 1.",
            file=sys.stderr,
        )
        return 2
    name = "training.json" if arguments.device == "cpu" else "training-gpu.json"
    path = arguments.json or RESULTS / name
    record = run(rows, arguments, path)
    for row in record["rows"]:
        off = row["predicted_bytes"] / row["peak_bytes"] - 1
        print(
            f"{row['name']}: {1 / row['seconds_per_step']:.3g} steps/s, waiting "
            f"{100 * row['waiting']:.0f}%, {row['peak_bytes'] / 1e9:.3f} GB ({100 * off:+.0f}% "
            f"foretold)"
        )
    for message in record["failed"].values():
        print(f"benchmarks/speed/training.py: {message}", file=sys.stderr)
    print(path)
    return 2 if record["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
