"""How long an imagined video takes: NWM's CDiT, EgoWM on SVD and on Cosmos, and with all shortcuts.

Networks have random weights: no time depends on what they have learned. On a CPU they are those of
the rooms, at about an eighth of the papers' sizes. A run that is expected to take longer than
--limit is not made: its row is extrapolated by the number of network calls, and says from which.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.measure import Record, benchmark, picked, positive, provenance, write
from benchmarks.speed.latency_cases import PAPER, SOME, Case, Scale, cases
from benchmarks.speed.latency_chart import latency_chart
from benchmarks.speed.latency_models import Models
from benchmarks.tables.latency import latency as table
from benchmarks.timing import Run, take_turns
from egowm.files import whole
from egowm.network.precision import computes_in_bfloat16

FRAMES = (1, 2, 4, 8, 16, 32, 64)
FEW = 2  # sampling steps of a first run, which warms up
Key = tuple[Case, int]  # what is made: a case without its names, and the frames


def measure(
    models: Models, known: Sequence[Case], arguments: argparse.Namespace
) -> Iterator[list[Record]]:
    """The rows of each number of frames in turn, from the least: one for each case that is asked.

    All videos of one length are made in turns, before the longer ones.
    """
    times: dict[Key, list[float]] = {}
    for wanted in sorted(set(arguments.frames)):
        asked = [case for case in known if wanted in lengths(case, arguments.frames)]
        runs = new_runs(models, asked, wanted, times, arguments.limit)
        named: dict[str, Run] = {str(k): run for k, run in enumerate(runs.values())}
        taken = take_turns(named, arguments.rounds)
        times |= dict(zip(runs, taken.values(), strict=True))
        yield [row(models, case, wanted, times) for case in asked]


def lengths(case: Case, frames: Sequence[int]) -> set[int]:
    """All that are asked for; the shortest and one of 16 frames at most where models are compared
    at one length."""
    short = min(frames)
    return (
        set(frames)
        if case.group == PAPER
        else {short, max(f for f in frames if f <= max(SOME, short))}
    )


def new_runs(
    models: Models, asked: Sequence[Case], wanted: int, times: dict[Key, list[float]], limit: float
) -> dict[Key, Run]:
    """What is still to be measured, warmed up: the first of each work, others within the limit."""
    runs: dict[Key, Run] = {}
    for case in asked:
        key = case.work, case.frames(wanted)
        if key in times or key in runs:
            continue
        before = longest(times, case)
        if not before:
            few = replace(case.how, steps=min(FEW, case.how.steps or FEW))
            models.imagine(case._replace(how=few), key[1])
        if not before or expected(times, case, before, key[1]) <= limit:
            runs[key] = partial(models.imagine, *key)
    return runs


def longest(times: dict[Key, list[float]], case: Case) -> int:
    """The most frames that were measured of a case's work; 0 for none."""
    return max((frames for work, frames in times if work == case.work), default=0)


def expected(times: dict[Key, list[float]], case: Case, before: int, frames: int) -> float:
    """Seconds of a video, by those of a measured one: in proportion to their network calls."""
    return median(times[case.work, before]) * case.calls(frames) / case.calls(before)


def row(models: Models, case: Case, wanted: int, times: dict[Key, list[float]]) -> Record:
    """What was measured, or extrapolated from the longest video that was."""
    frames = case.frames(wanted)
    made: Record = {"group": case.group, "name": case.name, "frames": wanted}
    made |= {"frames_made": frames, "chunk": case.chunk, "network_calls": case.calls(frames)}
    made |= {"height": case.size[0], "width": case.size[1], "parameters": models.parameters(case)}
    made |= {name: getattr(case.how, name) for name in ("steps", "guidance", "chain", "decode")}
    made |= {"dtype": str(case.how.dtype).removeprefix("torch."), "kept": case.kept}
    made["compiled"] = case.compiled
    taken = times.get((case.work, frames))
    if taken is not None:
        ends = {"seconds_min": min(taken), "seconds_max": max(taken)}
        return made | {"seconds": median(taken), **ends, "rounds": len(taken)}
    before = longest(times, case)
    seconds = expected(times, case, before, frames)
    return made | {"seconds": seconds, "extrapolated_from": before}


def options(add: Callable[..., Any]) -> None:
    add("--frames", type=positive, nargs="+", default=list(FRAMES), help="lengths of videos")
    add("--rounds", type=positive, default=3, help="runs of each, in turns")
    add("--limit", type=float, default=20.0, help="seconds that a run may be expected to take")
    add("--scale", choices=("toy", "reduced", "paper"), help="default: paper on a GPU")
    add("--compile", action="store_true", help="with a row whose network is compiled")
    add("--most-steps", type=positive, help="sampling steps at most: a toy's")
    add("--chart", type=Path, help="SVG of seconds against frames")


def run(arguments: argparse.Namespace) -> Record:
    """The whole record: provenance, settings, how busy the machine was, rows."""
    device = arguments.device
    scale: Scale = arguments.scale or ("paper" if device == "cuda" else "reduced")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    known = cases(scale, dtype, arguments.compile, computes_in_bfloat16(device))
    if arguments.most_steps:
        known = [few_steps(case, arguments.most_steps) for case in known]
    record = provenance(arguments.seed, device)
    record["settings"] = picked(arguments, "rounds", "limit", "most_steps") | {"scale": scale}
    record["load_average"] = [round(os.getloadavg()[0], 2)]  # before, and after
    record["cores"] = os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        models = Models(scale, device, Path(folder), arguments.seed)
        record["rows"] = []
        for rows in measure(models, known, arguments):
            record["rows"] += rows
            record["load_average"][1:] = [round(os.getloadavg()[0], 2)]
            write(arguments.file, record)  # longer videos may be ended by the clock
    if arguments.chart:
        with whole(arguments.chart) as temporary:
            temporary.write_text(latency_chart(record), encoding="utf-8")
    return record


def few_steps(case: Case, most: int) -> Case:
    """The same in fewer steps; Cosmos Predict2's sampler takes two at least."""
    least = FEW if case.family == "cosmos" else 1
    return case._replace(how=replace(case.how, steps=max(least, min(most, case.how.steps or most))))


main = benchmark(__file__, __doc__, "latency{gpu}.json", options, run, table)
if __name__ == "__main__":
    sys.exit(main())
