"""How soon frames come: sessions and streams beside diffusers' own pipeline called frame by frame.

The same pipeline folder is loaded as both, and both make one frame after the other from one
picture. Diffusers' pipeline is given its last frame as the next picture. The first frames are
compared before anything is timed; later ones start from 8 bits there, and from floats here.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.speed.rollout import SPEC, Contest, generator_of, load, picture_of
from benchmarks.tables.streaming import streaming as table
from benchmarks.timing import check_same
from egowm.network.compilation import compile_blocks
from egowm.pixels import to_uint8
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

Frames = Iterator[Tensor]  # (1, 3, H, W) in [0, 1], each as soon as it is there


def session(model: WorldModel, picture: np.ndarray, actions: Tensor, how: Sampling) -> Frames:
    """Ours, action by action."""
    going = model.session(picture, how, generator=generator_of(0))
    for action in actions:
        yield going.step(action)


def stream(model: WorldModel, picture: np.ndarray, actions: Tensor, how: Sampling) -> Frames:
    """Ours, all actions known, imagined ahead."""
    for made in model.stream(picture, actions, how, generator=generator_of(0)):
        yield made.frames[0]


def rollout(model: WorldModel, picture: np.ndarray, actions: Tensor, how: Sampling) -> Frames:
    """Ours, all frames in one call."""
    yield model.rollout(picture, actions, how, generator=generator_of(0)).frames[0]


def stock(contest: Contest, count: int) -> Frames:
    """Theirs, called for one frame after the other."""
    picture = contest.picture
    for seed in range(count):
        made = replace(contest, picture=picture).call(1, 1, seed)[0]
        yield made
        picture = to_uint8(made)[0]


def taken(frames: Frames) -> tuple[float, float]:
    """Seconds to the first frame, and to the last."""
    start = time.perf_counter()
    next(frames)
    _wait()
    first = time.perf_counter() - start
    for _ in frames:
        pass
    _wait()
    return first, time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ways(arguments: argparse.Namespace) -> dict[str, Callable[[], Frames]]:
    """What is timed, warmed up, by its name in the record."""
    model, theirs = load(arguments.prior, 1, arguments.device)
    picture, unit = picture_of(model, arguments.seed), torch.rand(arguments.frames, SPEC.width)
    contest = Contest(model, theirs, picture, arguments.steps, 1.0, 0)
    how, told = Sampling(steps=arguments.steps), SPEC.denormalise(unit * 2 - 1)
    blind = Sampling(steps=arguments.steps, chain="latents_only")
    made: dict[str, Callable[[], Frames]] = {
        "stock": partial(stock, contest, arguments.frames),
        "session": partial(session, model, picture, told, how),
        "stream": partial(stream, model, picture, told, how),
        "stream, latents_only": partial(stream, model, picture, told, blind),
        "rollout": partial(rollout, model, picture, told, how),
    }
    if arguments.compile:
        fast, _ = load(arguments.prior, 1, arguments.device)
        compile_blocks(fast.backbone.blocks)
        made["session, compiled"] = partial(session, fast, picture, told, how)
    check_same(next(made["session"]()), next(made["stock"]()))
    for way in made.values():
        taken(way())
    return made


def run(arguments: argparse.Namespace) -> Record:
    """The record: seconds of every way in every round, and the ratios round by round."""
    record = provenance(arguments.seed, arguments.device, weights=[arguments.prior])
    record["load_average"] = [round(os.getloadavg()[0], 2)]  # before, and after
    timed, rows = ways(arguments), []
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in timed}
    for number in range(arguments.rounds):
        for name in timed if number % 2 == 0 else reversed(list(timed)):
            seconds[name].append(taken(timed[name]()))
    for name, found in seconds.items():
        pairs = list(zip(seconds["stock"], found, strict=True))
        ratios = [theirs[1] / ours[1] for theirs, ours in pairs]
        rows.append(
            {
                "name": name,
                "first_frame_s": median(first for first, _ in found),
                "frames_a_second": arguments.frames / median(last for _, last in found),
                "first_frame_ratio": median(theirs[0] / ours[0] for theirs, ours in pairs),
                "ratio_median": median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
        )
    record["load_average"].append(round(os.getloadavg()[0], 2))
    record["settings"] = picked(arguments, "prior", "steps", "frames", "rounds")
    return record | {"rows": rows}


def options(add: Callable[..., Any]) -> None:
    add("--prior", default="priors/rooms-svd", help="a diffusers SVD folder")
    add("--steps", type=positive, default=1, help="sampling steps, as the shipped model takes")
    add("--frames", type=positive, default=8, help="frames of a walk")
    add("--rounds", type=positive, default=5)
    add("--compile", action="store_true", help="a session of compiled blocks, too")


main = benchmark(__file__, __doc__, "streaming{gpu}.json", options, run, table)
if __name__ == "__main__":
    sys.exit(main())
