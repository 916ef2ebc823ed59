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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch  # noqa: F401  # a card is found by it
from tqdm import tqdm

from benchmarks.measure import ROOT, Record, benchmark, picked, positive, provenance, write
from benchmarks.speed.training_rows import CPU, CUDA, Row
from benchmarks.tables import training as tables


def options(add: Callable[..., Any]) -> None:
    add("--steps", type=positive, default=8, help="timed steps")
    add("--warmup", type=positive, default=2, help="steps before them")
    add("--only", default="", help="rows whose name holds this")


def run(arguments: argparse.Namespace) -> Record:
    """The record: provenance, settings, rows; written after each row, as one may take minutes.

    Raises ValueError where no row has the name, or, once all others are written, where one failed.
    """
    known = CPU if arguments.device == "cpu" else CUDA
    rows = [row for row in known if arguments.only in row.name]
    if not rows:
        raise ValueError("Expected --only to name a row.")
    packages = ("torch", "lightning", "diffusers")
    prior = [ROOT / "priors/rooms-svd"] if arguments.device == "cpu" else []
    record = provenance(arguments.seed, arguments.device, packages, weights=prior)
    record["settings"] = picked(arguments, "steps", "warmup")
    record["load_average"] = round(os.getloadavg()[0], 2)  # of the machine before it began
    record["rows"], record["failed"] = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for row in tqdm(rows, "ways of training"):
            try:
                record["rows"].append(measured(row, arguments, folder))
            except ValueError as error:
                record["failed"][row.name] = str(error)
            write(arguments.file, record)
    if record["failed"]:
        raise ValueError("; ".join(record["failed"].values()))
    return record


def measured(row: Row, arguments: argparse.Namespace, folder: str) -> Record:
    """A row's record; raises ValueError with the last line of what went wrong."""
    asked = [arguments.steps, arguments.warmup, arguments.device, folder, arguments.seed]
    module = ["-m", "benchmarks.speed.training_row", json.dumps(row.key)]
    command, environment = [sys.executable, *module, *map(str, asked)], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment
    )
    if done.returncode:
        raise ValueError(f"{row.name}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return row.key | json.loads(done.stdout.strip().splitlines()[-1])


def table(results: Path) -> str:
    return "\n\n".join([tables.training(results), tables.card(results)])


main = benchmark(__file__, __doc__, "training{gpu}.json", options, run, table)
if __name__ == "__main__":
    sys.exit(main())
