"""What makes a training step of the rooms' world model fast: one change at a time, in turns.

The first way, which all others are compared with, computes whole convolutions over time in float32
and encodes the frames of the fewest clips anew. "kept" latents come from `memo_frames`. Clips have
one future frame; all ways train one network. A CPU without bfloat16 gets no row of it: it trains in
float32, as a recipe's bf16-mixed does there.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from benchmarks.measure import ROOT, Record, benchmark, picked, positive, provenance
from benchmarks.speed.training_row import MadeUp
from benchmarks.tables import training as tables
from benchmarks.timing import take_turns
from egowm.backbones import SVD
from egowm.data import Clip, Rooms, Window
from egowm.network.precision import computes_in_bfloat16
from egowm.network.single_frames import TemporalConv
from egowm.world_model import WorldModel


class Way(NamedTuple):
    """How a step is taken: `clips` at once; the rest is off in the first."""

    name: str
    clips: int
    single: bool = False  # single-frame convolutions
    half: bool = False  # bfloat16 autocast
    kept: bool = False  # latents


def ways(batches: Sequence[int], half: bool) -> list[Way]:
    """One change at a time, then all at once; bfloat16 only where the device computes in it."""
    first, *more = batches
    return [
        Way("whole convolutions, float32, encoded anew", first),
        Way("single-frame convolutions", first, single=True),
        *([Way("bf16-mixed", first, half=True)] if half else []),
        Way("latents kept", first, kept=True),
        *(Way("more clips", count) for count in more),
        *(Way("all of these", count, True, half, True) for count in batches),
    ]


class Trainee:
    """The network that all ways train, its optimizer and its clips."""

    def __init__(self, prior: str, batches: Sequence[int], size: int, device: str) -> None:
        data = MadeUp("", Window(1, 1, 1, size, size))
        spec = replace(Rooms.meaning, low=(-1.0,) * 3, high=(1.0,) * 3)
        backbone = SVD(prior, noise_strength=0.0, noise_mean=None, memo_frames=4 * max(batches))
        self.model = WorldModel(backbone, drop_image=0.0, spec=spec)
        self.model.configure_model()
        self.model.train().to(device)
        kept: Any = backbone.codec
        self.codecs = kept.codec, kept
        self.convolutions: list[nn.Module] = [
            m for m in self.model.modules() if isinstance(m, TemporalConv)
        ]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5)
        windows = data.windows("train", tiled=False)
        chosen = [windows[k % len(windows)] for k in range(max(batches))]
        self.clips = {n: Clip(*default_collate(chosen[:n])).to(device) for n in batches}

    def loss(self, way: Way) -> Tensor:
        """Of its clips, always under the same noise."""
        for convolution in self.convolutions:
            convolution.__class__ = TemporalConv if way.single else nn.Conv3d
        self.model.backbone.codec = self.codecs[way.kept]
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=way.half):
            return self.model.loss(self.clips[way.clips], torch.Generator().manual_seed(0))[0]

    def step(self, way: Way) -> Tensor:
        loss = self.loss(way)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


def speed(arguments: argparse.Namespace) -> list[Record]:
    """A row for each way, its ratio to the first in the same round.

    Raises ValueError where single-frame convolutions change the loss.
    """
    batches = sorted(set(arguments.batches))
    trainee = Trainee(arguments.prior, batches, arguments.size, arguments.device)
    half = computes_in_bfloat16(torch.device(arguments.device).type)
    first, single, *_ = known = ways(batches, half)
    with torch.no_grad():
        whole, spared = float(trainee.loss(first)), float(trainee.loss(single))
    if abs(spared - whole) > 1e-4 * whole:
        raise ValueError(f"Not timed: the losses {whole:g} and {spared:g} should be equal.")
    runs = {str(k): partial(trainee.step, way) for k, way in enumerate(known)}
    for run in runs.values():
        run()
    taken = take_turns(runs, arguments.rounds, arguments.calls)
    rows = []
    for way, own in zip(known, taken.values(), strict=True):
        ratios = [theirs / mine for theirs, mine in zip(taken["0"], own, strict=True)]
        ends = {"ratio_min": min(ratios), "ratio_max": max(ratios)}
        row: Record = way._asdict() | {"seconds": median(own), "ratio_median": median(ratios)}
        rows.append(row | ends)
    return rows


def options(add: Callable[..., Any]) -> None:
    add("--prior", default=str(ROOT / "priors/rooms-svd"), help="a folder of the SVD family")
    add("--size", type=positive, default=64, help="of the frames, pixels")
    add("--batches", type=positive, nargs="+", default=[8, 16, 32], help="clips at once")
    add("--rounds", type=positive, default=9)
    add("--calls", type=positive, default=2, help="steps of each way in a round")


def run(arguments: argparse.Namespace) -> Record:
    prior = Path(arguments.prior)
    record = provenance(arguments.seed, arguments.device, weights=[prior])
    record["settings"] = picked(arguments, "size", "rounds", "calls") | {"prior": prior.name}
    return record | {"rows": speed(arguments)}


main = benchmark(__file__, __doc__, "rooms-step{gpu}.json", options, run, tables.rooms_step)
if __name__ == "__main__":
    sys.exit(main())
