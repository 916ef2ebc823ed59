"""Does a score of imagined video say whether a robot that plans with the model arrives?

    python -m benchmarks.planning.scores_and_arrivals               # scores, then 8 rooms, 2 m
    python -m benchmarks.planning.scores_and_arrivals --rooms 16    # 8 rooms more
    python -m benchmarks.planning.scores_and_arrivals --distance 3  # goals further away

Models, from good to deliberately bad (`graded_models.py`), are ranked by each score of the
same unseen clips, and by how often a robot arrives at the place of a picture in the true simulator:
2 or 3 m away, seen from the start, within 0.5 m and 20 degrees at the end. The planner is the same
for all; it compares imagined latents with the goal's, and stops where no imagined frame is nearer.
Each file of `results/scores-and-arrivals/` is one model's scores, or its arrivals in 8 rooms; what
is there is not measured again.

Expected before measuring. What a planner asks of a model is how the picture changes when the action
does. So scores of that (the gain of the right actions over another clip's, and how well actions are
followed) should rank as the robots do, Kendall's tau above 0.6; those of single frames under the
true actions (PSNR, SSIM, the distance of latents, the loss) less well, below 0.5; SCS between them.
It would be refuted by PSNR that ranks as well as the gain does: an interval of the difference of
their tau that lies below zero, or holds zero with a difference below 0.1.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate
from tqdm import tqdm

from benchmarks.experiment.arms import EARLIER, EXPORTS
from benchmarks.experiment.room_clips import RoomClips, unseen_clips
from benchmarks.measure import RESULTS, ROOT, Record, Script, picked, positive, provenance, write
from benchmarks.planning.arrivals import SIMULATOR, STOPS, agent_without
from benchmarks.planning.graded_models import GRADED, Graded
from egowm.clip import Clip
from egowm.commands.work.plan import planner_of
from egowm.evaluation.agents import EVERY, HORIZON, with_model
from egowm.evaluation.flow_motion import Ground, Pinhole, follow_by_flow
from egowm.evaluation.metrics.metric import Sample
from egowm.evaluation.metrics.pixel import SSIM
from egowm.evaluation.navigation import Agent, act_out, make_tasks, time_allowed
from egowm.pixels import to_model
from egowm.planning.mpc import Planner
from egowm.sampling import Sampling
from egowm.world_model import WorldModel
from egowm.worlds.motion import ROBOT_HEIGHT

FOLDER = "scores-and-arrivals"
BLOCK = 8  # rooms of one file
DISTANCES = (2.0, 3.0)  # metres
CANDIDATES, ROUNDS = 12, 2
LOSS_LEVEL = float(np.exp(4.0))  # where a one-step sampler asks
NOT_SEEN = 2.0  # the error of a step whose motion flow does not find, in deviations of the actions
WITHOUT = {  # rows without a world model, and their agents: the simulator may stop, as models may
    SIMULATOR: SIMULATOR + STOPS,
    "straight ahead": "straight ahead",
    "random": "random",
}


# Scores of clips --------------------------------------------------------------------------------


def scores(graded: Graded, model: WorldModel, clips: RoomClips) -> Record:
    """Every score, one value per clip."""
    true = clips.imagined(model, "true", graded.how)
    other = clips.imagined(model, "shuffled", graded.how)
    under_true, under_other = clips.score(true), clips.score(other)
    found = {
        "scs": under_true.scs,
        "gain": under_true.scs - under_other.scs,
        "stepped": clips.score(clips.stepped(model, graded.how)).scs,
        "still": clips.score_still(clips.imagined(model, "zero", graded.how)).scs,
        "psnr": under_true.psnr,
        "psnr_gain": under_true.psnr - under_other.psnr,
        "ssim": ssim(clips, true),
        "latents": latents(clips, model, true),
        "following": following(clips, true),
        "loss": losses(clips, model),
    }
    return {name: [_plain(value) for value in values] for name, values in found.items()}


def ssim(clips: RoomClips, videos: Sequence[np.ndarray]) -> np.ndarray:
    """Of each clip, the mean over its frames."""
    metric, found, meaning = SSIM(), [], clips.data.meaning
    for k, clip in enumerate(clips.clips):
        truth, told = clips.truth[k], clips.actions[k].numpy()
        sample = Sample(clip.name, truth[0], videos[k], truth[1:], told, told, meaning)
        found.append(metric.clip(sample)["ssim"].mean())
    return np.array(found)


@torch.no_grad()
def latents(clips: RoomClips, model: WorldModel, videos: Sequence[np.ndarray]) -> np.ndarray:
    """Root of the mean squared distance between the VAE's latents of video and truth."""
    found = []
    for truth, video in zip(clips.truth, videos, strict=True):
        both = [torch.from_numpy(frames.transpose(0, 3, 1, 2)) for frames in (video, truth[1:])]
        made, real = (model.backbone.codec.encode(to_model(frames)[None]) for frames in both)
        found.append(float((made - real).square().mean().sqrt()))
    return np.array(found)


def following(clips: RoomClips, videos: Sequence[np.ndarray]) -> np.ndarray:
    """How far the motion seen by optical flow is from the actions, in their deviations."""
    spread, spec, found = clips.actions.flatten(0, 1).std(0).numpy(), clips.data.meaning, []
    moves = spread > 1e-6  # the robot does not go sideways
    height, width = videos[0].shape[1:3]
    camera = Pinhole.of_view(height, width, 90.0)
    for truth, actions, video in zip(clips.truth, clips.actions.numpy(), videos, strict=True):
        frames = np.concatenate([truth[:1], video])
        seen = follow_by_flow(frames, actions, spec, camera, ground=Ground(ROBOT_HEIGHT)).seen
        off = np.linalg.norm(((seen - actions) / np.where(moves, spread, 1))[:, moves], axis=1)
        found.append(np.minimum(np.nan_to_num(off, nan=NOT_SEEN), NOT_SEEN).mean())
    return np.array(found)


@torch.no_grad()
def losses(clips: RoomClips, model: WorldModel) -> np.ndarray:
    """The training loss of a clip's first action, at one high noise level, from fixed noise."""
    model.drop_image = 0.0
    found = []
    for clip, number in zip(clips.clips, clips.numbers, strict=True):
        first = clip._replace(frames=clip.frames[:2], actions=clip.actions[:1])
        batch = Clip(*default_collate([first]))
        loss, _ = model.loss(batch, torch.Generator().manual_seed(number), LOSS_LEVEL)
        found.append(float(loss))
    return np.array(found)


def _plain(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


# Arrivals ---------------------------------------------------------------------------------------


def arrivals(agent: Agent, first: int, distance: float, name: str) -> Record:
    """Of one block of rooms: whether it arrived, and how far off it ended, room by room."""
    tasks, began = make_tasks(first + BLOCK, distance=distance)[first:], time.perf_counter()
    allowed = time_allowed(distance)
    runs = [act_out(task, agent, allowed) for task in tqdm(tasks, name, leave=False)]
    return {
        "arrived": [bool(run.success) for run in runs],
        "metres": [round(run.metres, 3) for run in runs],
        "degrees": [round(run.degrees, 1) for run in runs],
        "seconds": round(time.perf_counter() - began, 1),
    }


def agent_of(model: WorldModel, how: Sampling, seed: int) -> Agent:
    """The same planner for every model."""
    return with_model(model, _planner(), how, by="latents", seed=seed, stops=True)


def _planner() -> Planner:
    return planner_of("icem", CANDIDATES, ROUNDS)


# Files ------------------------------------------------------------------------------------------


def scores_file(folder: Path, name: str) -> Path:
    """The record of a model's scores."""
    return folder / f"{_words(name)}-scores.json"


def arrivals_file(folder: Path, name: str, distance: float, first: int) -> Path:
    """The record of a model's arrivals in a block of rooms from the first on."""
    return folder / f"{_words(name)}-{distance:g}m-rooms-{first:03d}.json"


def _words(name: str) -> str:
    return "".join(letter for letter in name.replace(" ", "-") if letter not in "(),")


def options(add: Callable[..., Any]) -> None:
    names = [*WITHOUT, *(graded.name for graded in GRADED)]
    add("--models", nargs="+", choices=names, default=names, metavar="NAME")
    add("--only", choices=("scores", "arrivals"), help="the other is for another process")
    add("--rooms", type=positive, default=8, help="multiples of 8; more than before adds some")
    add("--distance", type=float, choices=DISTANCES, default=DISTANCES[0], help="metres")
    add("--clips", type=positive, default=32, help="that are scored, of 64")
    add("--seed", type=int, default=0)
    add("--results", type=Path, default=RESULTS, help="folder that is written")


def work(arguments: argparse.Namespace) -> None:
    """Block after block of rooms, so that all models have the same rooms."""
    folder = arguments.results / FOLDER
    if arguments.only != "arrivals":
        measure_scores(folder, arguments)
    for first in range(0, arguments.rooms - BLOCK + 1, BLOCK):
        if arguments.only != "scores":
            measure_arrivals(folder, first, arguments)


def measure_scores(folder: Path, arguments: argparse.Namespace) -> None:
    """Of all chosen models that have none yet."""
    clips = unseen_clips()
    clips.keep(range(min(arguments.clips, len(clips.clips))))
    for graded in GRADED:
        path = scores_file(folder, graded.name)
        if graded.name in arguments.models and not path.is_file():
            record = about(graded, arguments) | {"settings": picked(arguments, "clips")}
            write(path, record | {"scores": scores(graded, graded.make(), clips)})
            print(path.name, flush=True)


def measure_arrivals(folder: Path, first: int, arguments: argparse.Namespace) -> None:
    """Of all chosen models, and of those who need none, in one block of rooms."""
    seed, distance = arguments.seed, arguments.distance
    where = distance, seed
    agents: list[tuple[str, Callable[[], Record], Callable[[], Agent]]] = [
        (name, partial(about_none, name, seed), partial(agent_without, who, _planner(), *where))
        for name, who in WITHOUT.items()
    ]
    for graded in GRADED:
        make = partial(_planning_with, graded, seed)
        agents.append((graded.name, partial(about, graded, arguments), make))
    for name, origin, agent in agents:
        path = arrivals_file(folder, name, distance, first)
        if name not in arguments.models or path.is_file():
            continue
        settings = {"distance": distance, "candidates": CANDIDATES, "rounds": ROUNDS}
        settings |= {"horizon": HORIZON, "every": EVERY, "first_room": first}
        record = origin() | {"settings": settings}
        found = arrivals(agent(), first, distance, name)
        write(path, record | found)
        print(f"{path.name}: {100 * sum(found['arrived']) / BLOCK:.0f} %", flush=True)


def _planning_with(graded: Graded, seed: int) -> Agent:
    return agent_of(graded.make(), graded.how, seed)


def about(graded: Graded, arguments: argparse.Namespace) -> Record:
    """Where a record comes from, and of which model it is."""
    weights = [*EXPORTS.values(), EARLIER, ROOT / "priors/rooms-svd"]
    origin = provenance(arguments.seed, "cpu", weights=weights)
    how = {"steps": graded.steps, "dtype": str(graded.how.dtype)}
    return origin | {"name": graded.name, "kind": graded.kind} | how


def about_none(name: str, seed: int) -> Record:
    """The same for who needs no model."""
    return provenance(seed, "cpu") | {"name": name, "kind": "without a model"}


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
