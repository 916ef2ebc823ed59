"""How straight the paths of an encoder are in unseen rooms, and what they are good for."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.experiment.room_clips import RoomClips
from benchmarks.measure import Record
from egowm.actions.poses import planar_path
from egowm.evaluation.agents import with_model
from egowm.evaluation.navigation import act_out, make_tasks, time_allowed
from egowm.latent import LatentModel, extrapolate, straightness, straightness_gap
from egowm.pixels import to_unit
from egowm.planning import gradient

AHEAD = (4, 8)  # frames after the context


@torch.no_grad()
def measured(
    clips: RoomClips, encode: Callable[[Tensor], Tensor], model: LatentModel | None, tasks: int
) -> Record:
    """Of real paths; of a model's predictions; of robots that plan with its gradient.

    encode: frames (M, 3, H, W) in [0, 1] to latents.
    """
    pictures = torch.stack([clip.frames for clip in clips.clips])
    real = encode(to_unit(pictures).flatten(0, 1)).flatten(1).unflatten(0, pictures.shape[:2])
    guessed = extrapolate(real)[:, :-1]
    row: Record = {
        "straightness": round(float(straightness(real)), 3),
        "extrapolation": round(_share(guessed, real[:, 1:-1], real[:, 2:]), 3),
        "retrieved": round(_retrieved(guessed, real), 3),
        "rank": round(_rank(real, clips), 3),
    }
    if model is None:
        return row
    told = model.spec_of(None).normalise(clips.actions)
    state, made = encode(to_unit(pictures[:, 0])), []
    for action in told.unbind(1):
        state = model.predictor(state, action)
        made.append(state.flatten(1))
    path = torch.stack(made, 1)
    row["gap"] = round(straightness_gap(torch.cat([real[:, :1], path], 1), real), 3)
    for k in AHEAD:
        row[f"prediction_{k}"] = round(_share(path[:, k - 1], real[:, 0], real[:, k]), 3)
    return row | (arrivals(model, tasks) if tasks else {})


def arrivals(model: LatentModel, count: int) -> Record:
    """Robots that go to a picture, planned by the gradient of the distance between latents."""
    planner = partial(gradient, iterations=20, samples=8, rate=0.3)
    agent = with_model(model, planner, by="latents", stops=True)
    runs = [act_out(task, agent, time_allowed()) for task in make_tasks(count)]
    metres = float(np.mean([run.metres for run in runs]))
    arrived = sum(run.success for run in runs)
    return {"arrived": arrived, "tasks": count, "metres_left": round(metres, 2)}


def _share(made: Tensor, copied: Tensor, truth: Tensor) -> float:
    """The squared error of a prediction as a share of that of a copy."""
    errors = [(x - truth).square().mean() for x in (made, copied)]
    return float(errors[0] / errors[1])


def _retrieved(guessed: Tensor, real: Tensor) -> float:
    """How often the frame nearest to the extrapolated one, among all clips' frames but the two that
    it is extrapolated from, is the next one."""
    count, length = real.shape[:2]
    distances = torch.cdist(guessed.flatten(0, 1), real.flatten(0, 1))
    clip, step = torch.arange(count)[:, None], torch.arange(length - 2)
    first = (clip * length + step).flatten()  # of the two
    row = torch.arange(len(first))
    distances[row, first] = distances[row, first + 1] = torch.inf
    return float((distances.argmin(1) == first + 2).float().mean())


def _rank(real: Tensor, clips: RoomClips) -> float:
    """Rank correlation, within a clip, of the distance of latents to the last frame's with the
    metres to where that was seen; the mean over clips that move."""
    found = []
    for latents, actions in zip(real, clips.actions, strict=True):
        place = planar_path(actions.numpy())[:, :2]
        metres = np.linalg.norm(place - place[-1], axis=1)[:-1]
        far = (latents[:-1] - latents[-1]).norm(dim=1).numpy()
        if np.ptp(metres) > 0:
            by_metres, by_latents = (np.argsort(np.argsort(x)).astype(float) for x in (metres, far))
            found.append(np.corrcoef(by_metres, by_latents)[0, 1])
    return float(np.mean(found))
