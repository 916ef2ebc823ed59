"""Candidates a second: what a planner's cost imagines, beside diffusers' own pipeline.

Two contests over the same candidates. *Closed loop*: the committed world model, whose chunk is one
frame, so that the pipeline is called for each frame anew, with the pictures that it made before and
the actions injected. *One video*: a base pipeline that makes all frames in one call.

Before anything is timed, the world model chained by pixels in float32 is found to make the
pipeline's frames. Latents in place of pixels, and bfloat16, make slightly different ones; what they
are worth is measured by who arrives.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import Record, benchmark, picked, positive, provenance
from benchmarks.planning.arrivals import QUICK
from benchmarks.speed.comparisons import BATCHED, BATCHED_BF16
from benchmarks.speed.rollout import SPEC, Contest, generator_of, load, picture_of, stock_pipeline
from benchmarks.tables.planning import planning
from benchmarks.timing import Run, check_same, seconds, take_turns
from egowm.evaluation.agents import HORIZON
from egowm.evaluation.navigation import Robot, make_tasks
from egowm.planning import goal_cost
from egowm.planning.costs import Pixels
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.world_model import WorldModel

AT_ONCE = 32  # candidates, on both sides
CHECKED = 4  # candidates, at most, of which both sides' frames are compared
LOOP = "pipeline, a loop"
ROUNDED = 0.005  # mean difference of frames that is allowed: calls hand on 8-bit pictures


@dataclass(frozen=True)
class ClosedLoop:
    """A world model, and the pipeline of its parts.

    picture: (H, W, 3) uint8. goal: (3, H, W) in [0, 1]. actions: (N, T, A). decoded: frames that
    the pipeline decodes at once.
    """

    model: WorldModel
    stock: Any
    picture: np.ndarray
    goal: Tensor
    actions: Tensor
    steps: int
    decoded: int

    def cost(self, how: Sampling = Sampling()) -> Tensor:
        """Ours."""
        context = torch.from_numpy(self.picture).permute(2, 0, 1)[None, None]
        term = Pixels(self.goal.to(self.model.device))
        how = replace(how, steps=self.steps, micro_batch=AT_ONCE)
        cost = goal_cost(self.model, context, term, how)
        with torch.no_grad():
            return cost(self.actions)

    def rollout(self, count: int) -> Tensor:
        """Ours with the noise, and the chain, of the pipeline's calls: (count, T, 3, H, W)."""
        context = torch.from_numpy(self.picture).permute(2, 0, 1)[None, None]
        context = context.expand(count, -1, -1, -1, -1)
        noise, actions = _generators(count), self.actions[:count]
        how = Sampling(steps=self.steps, chain="pixels")
        return self.model.rollout(context, actions, how, generator=noise).frames

    def calls(self, at_once: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Theirs: a call for each chunk of `at_once` candidates, (count, T, 3, H, W)."""
        parts = self.actions[:count].split(at_once)
        noise = [_generators(count)[k : k + at_once] for k in range(0, count, at_once)]
        with torch.no_grad(), _autocast(self.model.device.type, dtype):
            return torch.cat([self._chained(*both) for both in zip(parts, noise, strict=True)])

    def _chained(self, actions: Tensor, noise: list[torch.Generator]) -> Tensor:
        model, backbone = self.model, self.model.backbone
        normal = model.spec_of(None).normalise(actions.to(model.device))
        embedding = model.embed(normal)
        seen, made = [Image.fromarray(self.picture)] * len(actions), []
        for part in embedding.split(model.chunk, 1):
            with backbone.injecting(part):
                videos = self.stock(
                    seen,
                    height=self.picture.shape[0],
                    width=self.picture.shape[1],
                    num_frames=part.shape[1],
                    num_inference_steps=self.steps,
                    min_guidance_scale=1.0,
                    max_guidance_scale=1.0,
                    fps=backbone.fps,
                    motion_bucket_id=backbone.motion_bucket,
                    noise_aug_strength=backbone.noise_strength,
                    decode_chunk_size=self.decoded,
                    generator=noise,
                    output_type="np",
                ).frames
            made.append(torch.from_numpy(videos).permute(0, 1, 4, 2, 3))
            last = (videos[:, -1] * 255).round().astype("uint8")
            seen = [Image.fromarray(picture) for picture in last]
        return torch.cat(made, 1)

    def check(self) -> float:
        """The mean difference of both sides' frames; ValueError where it is more than rounding."""
        with _exact():
            count = min(CHECKED, len(self.actions))
            ours, theirs = self.rollout(count), self.calls(count, count)
        first = slice(0, self.model.chunk)  # of which nothing was rounded yet
        check_same(ours[:, first].cpu(), theirs[:, first])
        difference = (ours.cpu() - theirs).abs().mean().item()
        if not difference < ROUNDED:
            raise ValueError(f"Not timed: frames differ by {difference:.2g}, at most {ROUNDED}.")
        return difference


def speed(arguments: argparse.Namespace) -> list[Record]:
    """All rows: the closed loop for each number of steps, the loop of calls for the first; then one
    video."""
    rows: list[Record] = []
    count = arguments.timed
    for steps in arguments.steps:
        contest = closed_loop(arguments, steps)
        about = {"contest": "closed loop", "steps": steps, "difference": contest.check()}
        sizes = [1, 4, AT_ONCE] if not contest.model.backbone.codec.decodes_in_time else []
        tried = [replace(contest, decoded=size) for size in sizes] or [contest]
        contest = min(tried, key=lambda c: seconds(partial(c.calls, AT_ONCE, min(AT_ONCE, count))))
        about["stock_decode_chunk_size"] = contest.decoded
        half = replace(QUICK, dtype=torch.bfloat16)
        runs: dict[str, Run] = {
            "ours, latents only, bfloat16": partial(contest.cost, half),
            "ours, latents only": partial(contest.cost, Sampling(chain="latents_only")),
            "ours, latents": contest.cost,
            "ours, pixels": partial(contest.cost, Sampling(chain="pixels")),
            BATCHED: partial(contest.calls, AT_ONCE, count),
            BATCHED_BF16: partial(contest.calls, AT_ONCE, count, torch.bfloat16),
        }
        if steps == arguments.steps[0]:
            runs[LOOP] = partial(contest.calls, 1, count)
        rows += timed(runs, about, count, arguments.repeats)
    return rows + one_video(arguments)


def closed_loop(arguments: argparse.Namespace, steps: int) -> ClosedLoop:
    """The committed export on its device, in a room that it has not seen."""
    model = WorldModel.from_pretrained(arguments.model).to(arguments.device)
    backbone: Any = model.backbone
    stock = stock_pipeline(backbone.folder, arguments.device, unet=backbone.network)
    (task,) = make_tasks(1)
    robot = Robot(task, *picture_of(model, 0).shape[:2])
    goal = torch.from_numpy(robot.look(task.goal)).permute(2, 0, 1) / 255
    spec, shape = model.spec_of(None), (arguments.timed, arguments.frames)
    unit = torch.rand((*shape, spec.width), generator=generator_of(arguments.seed))
    actions = spec.denormalise(unit * 2 - 1)
    return ClosedLoop(model, stock, robot.look(), goal, actions, steps, decoded=model.chunk)


def one_video(arguments: argparse.Namespace) -> list[Record]:
    """Rows of a base pipeline without actions: the embedding is at its zero start."""
    model, stock = load(arguments.prior, arguments.frames, arguments.device)
    steps, count = arguments.steps[-1], arguments.timed
    contest = Contest(model, stock, picture_of(model, 0), steps, 1.0, arguments.seed)
    with _exact():
        few = min(CHECKED, count)
        check_same(contest.rollout(few, True), contest.calls(few))
        check_same(contest.rollout(few, False), contest.call(few, model.chunk, contest.seed))
    context = torch.from_numpy(contest.picture).permute(2, 0, 1)[None, None]
    unit = torch.rand((count, model.chunk, SPEC.width), generator=generator_of(arguments.seed))
    actions = SPEC.denormalise(unit * 2 - 1)
    how = Sampling(steps=steps, micro_batch=AT_ONCE)

    def ours(by: Any) -> Tensor:
        with torch.no_grad():
            return goal_cost(model, context, context[0, 0], how, by=by)(actions)

    def batched(decoded: int) -> Tensor:
        sizes = [min(AT_ONCE, count - k) for k in range(0, count, AT_ONCE)]
        return torch.cat([contest.call(n, decoded, 0) for n in sizes])

    tried = [model.chunk] if model.backbone.codec.decodes_in_time else [1, 4, model.chunk, AT_ONCE]
    at_once = min(AT_ONCE, count)
    decoded = min(tried, key=lambda size: seconds(partial(contest.call, at_once, size, 0)))
    runs = {
        "ours, nothing decoded": partial(ours, "latents"),
        "ours, the last frame decoded": partial(ours, "pixels"),
        BATCHED: partial(batched, decoded),
        LOOP: partial(contest.calls, count),
    }
    about = {"contest": "one video", "steps": steps, "stock_decode_chunk_size": decoded}
    return timed(runs, about, count, arguments.repeats)


def timed(runs: Mapping[str, Run], about: Record, count: int, repeats: int) -> list[Record]:
    """A row for each run; ratio: the batched pipeline's seconds over its own, in the same round."""
    for name, run in tqdm(runs.items(), "first calls", leave=False):
        if name != LOOP:  # so many calls warm themselves up
            run()
    taken = take_turns(runs, repeats)
    rows = []
    for name, own in taken.items():
        ratios = [theirs / mine for theirs, mine in zip(taken[BATCHED], own, strict=True)]
        row = about | {"who": name, "candidates": count, "seconds": round(median(own), 3)}
        row |= {"candidates_per_second": round(count / median(own), 2)}
        row |= {"ratio_median": median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
        rows.append(row | {"repeats": repeats})
    return rows


def _autocast(device: str, dtype: torch.dtype) -> AbstractContextManager[Any]:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)


def _exact() -> AbstractContextManager[Any]:
    """TensorFloat-32 would make batches of different sizes differ."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _generators(count: int) -> list[torch.Generator]:
    return [generator_of(seed) for seed in range(count)]


def options(add: Callable[..., Any]) -> None:
    add("--model", default=str(default_model()), help="an export")
    add("--prior", default="priors/rooms-svd", help="a diffusers SVD folder")
    add("--steps", type=positive, nargs="+", default=[1, 2], help="sampling steps")
    add("--timed", type=positive, default=120, help="candidates that are timed")
    add("--frames", type=positive, default=HORIZON, help="that each timed one imagines")
    add("--repeats", type=positive, default=3, help="alternating runs of each side")


def run(arguments: argparse.Namespace) -> Record:
    networks = (arguments.model, arguments.prior)
    record = provenance(arguments.seed, arguments.device, weights=networks)
    record["settings"] = picked(arguments, "timed", "frames", "steps")
    for key in ("model", "prior"):  # a folder's name: where it lies is nobody's business
        record["settings"][key] = Path(getattr(arguments, key)).name
    return record | {"rows": speed(arguments)}


main = benchmark(__file__, __doc__, "candidates{gpu}.json", options, run, planning)
if __name__ == "__main__":
    sys.exit(main())
