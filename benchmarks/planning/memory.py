"""Memory of a plan by its number of candidates: that of one micro-batch, and their costs.

Each number is planned in turn, the smallest first, by random shooting on a cost by pixels. On a CPU
the figure is the process's peak so far, above what it was before the first plan; on a GPU the
allocator's peak.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.measure import RESULTS, provenance, write
from egowm.planning import Space, goal_cost, random_shooting
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.world_model import WorldModel


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole record: provenance, settings, a row for each number of candidates."""
    counts = sorted(arguments.candidates)
    if min(*counts, arguments.frames, arguments.micro_batch) < 1:
        raise ValueError("Expected --candidates, --frames and --micro_batch of at least 1.")
    record = provenance(arguments.seed, arguments.device, weights=[arguments.model])
    model = WorldModel.from_pretrained(arguments.model).to(arguments.device)
    generator = torch.Generator().manual_seed(arguments.seed)
    context, goal = torch.rand(2, 3, arguments.size, arguments.size, generator=generator)
    space = Space.of(model.spec_of(None), arguments.frames)
    start, rows = _peak(arguments.device), []
    for count in tqdm(counts, "plans", file=sys.stderr):
        how = Sampling(steps=1, micro_batch=arguments.micro_batch)
        cost = goal_cost(model, context[None, None], goal, how, by="pixels")
        begun = time.perf_counter()
        plan = random_shooting(cost, space, samples=count, generator=generator)
        rows.append(
            {
                "candidates": plan.evaluations,
                "bytes": _peak(arguments.device) - start,
                "seconds": round(time.perf_counter() - begun, 1),
            }
        )
    names = ("frames", "size", "micro_batch")
    record["settings"] = {name: getattr(arguments, name) for name in names}
    record["settings"] |= {"model": Path(arguments.model).name, "steps": 1}
    return record | {"rows": rows}


def _peak(device: str) -> int:
    """Bytes at most, so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line for each number, write the JSON file; 2 for unusable input."""
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--model", default=str(default_model()), help="an export")
    parser.add_argument("--candidates", type=int, nargs="+", default=[32, 320, 10_000])
    parser.add_argument("--frames", type=int, default=4, help="actions of a candidate")
    parser.add_argument("--size", type=int, default=32, help="of a frame, pixels")
    parser.add_argument("--micro_batch", type=int, default=32, help="candidates at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=cuda)
    parser.add_argument("--json", type=Path, default=RESULTS / "planning-memory.json")
    arguments = parser.parse_args(argv)
    try:
        record = run(arguments)
    except (OSError, ValueError) as error:
        print(f"benchmarks/planning/memory.py: {error}", file=sys.stderr)
        return 2
    write(arguments.json, record)
    for row in record["rows"]:
        print(f"{row['candidates']} candidates: {row['bytes'] / 2**20:.0f} MiB, {row['seconds']} s")
    print(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
