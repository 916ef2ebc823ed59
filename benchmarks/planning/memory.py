"""Memory of a plan by its number of candidates: that of one micro-batch, and their costs.

Each number is planned in turn, the smallest first, by random shooting on a cost by pixels. On a CPU
the figure is the process's peak so far, above what it was before the first plan; on a GPU the
allocator's peak.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.tables import planning
from egowm.planning import Space, goal_cost, random_shooting
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.world_model import WorldModel


def options(add: Callable[..., Any]) -> None:
    add("--model", default=str(default_model()), help="an export")
    add("--candidates", type=positive, nargs="+", default=[32, 320, 10_000])
    add("--frames", type=positive, default=4, help="actions of a candidate")
    add("--size", type=positive, default=32, help="of a frame, pixels")
    add("--micro_batch", type=positive, default=32, help="candidates at once")


def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, a row for each number of candidates."""
    record = provenance(arguments.seed, arguments.device, weights=[arguments.model])
    model = WorldModel.from_pretrained(arguments.model).to(arguments.device)
    generator = torch.Generator().manual_seed(arguments.seed)
    context, goal = torch.rand(2, 3, arguments.size, arguments.size, generator=generator)
    space = Space.of(model.spec_of(None), arguments.frames)
    how = Sampling(steps=1, micro_batch=arguments.micro_batch)
    start, rows = _peak(arguments.device), []
    for count in tqdm(sorted(arguments.candidates), "plans", file=sys.stderr):
        cost = goal_cost(model, context[None, None], goal, how, by="pixels")
        begun = time.perf_counter()
        plan = random_shooting(cost, space, samples=count, generator=generator)
        row = {"candidates": plan.evaluations, "bytes": _peak(arguments.device) - start}
        rows.append(row | {"seconds": round(time.perf_counter() - begun, 1)})
    record["settings"] = picked(arguments, "frames", "size", "micro_batch")
    record["settings"] |= {"model": Path(arguments.model).name, "steps": 1}
    return record | {"rows": rows}


def _peak(device: str) -> int:
    """Bytes at most, so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


main = benchmark(__file__, __doc__, "planning-memory.json", options, run, planning.memory)
if __name__ == "__main__":
    sys.exit(main())
