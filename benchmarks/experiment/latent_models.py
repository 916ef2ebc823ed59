"""Latent world models in rooms, trained for a budget of CPU seconds, beside a diffusion model.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.latent_models --folder ~/latent &

RSSM: open loop from one frame of unseen rooms, as the diffusion model of 33,550 steps (`EARLIER`).
LatentModel, with and without straightening: how straight its paths are, what they foretell, and
robots that plan with its gradient. A model that is in the record is not trained again; the record
is written after each.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.experiment.arms import EARLIER
from benchmarks.experiment.latent_paths import measured as measured_paths
from benchmarks.experiment.room_clips import RoomClips
from benchmarks.measure import RESULTS, Record, Script, positive, provenance, read, write
from egowm.action_module import ActionModule
from egowm.clip import Clip
from egowm.data import Rooms
from egowm.dynamics import Dynamics
from egowm.latent import RSSM, LatentModel
from egowm.pixels import psnr
from egowm.recipe import open_recipe
from egowm.sampling import Sampling
from egowm.shipped import recipes
from egowm.world_model import WorldModel

RECORD, HORIZON = RESULTS / "latent_models.json", 16
AT = (2, 4, 8, 16)  # frames after the context
KINDS: dict[str, dict[str, Any]] = {  # of latent models; an export is named by the first word
    "with straightening": {"straightening": 0.1},
    "invariance in its place": {"invariance": 0.1},
    "without": {},
    "untrained": {},
}
WARMUP, CLIPPED = 50, 10.0  # steps; norm of the gradient
TIMED, ROUNDS = (8, 8), 5  # sequences and actions of a timed rollout


def rooms(recipe: str, episodes: int, clips: int, batch: int) -> Rooms:
    """The recipe's data with so many rooms."""
    data = open_recipe(recipes()[recipe]).data()
    assert isinstance(data, Rooms)
    data.counts |= {"train": episodes, "test": clips}
    data.batch_size = batch
    return data


def forever(data: Rooms) -> Iterator[Clip]:
    while True:
        yield from data.train_dataloader()


def train(model: ActionModule, data: Rooms, seconds: float, seed: int) -> Record:
    """For so many CPU seconds of this process; the rate falls to zero over them as a cosine."""
    data.setup("fit")
    torch.manual_seed(seed)
    model.spec = data.spec
    model.configure_model()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), model.learning_rate)
    began, steps = time.process_time(), 0
    for batch in forever(data):
        used = (time.process_time() - began) / seconds
        if used >= 1:
            break
        rate = model.learning_rate * min(1.0, (steps + 1) / WARMUP) * (1 + np.cos(np.pi * used)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        model.loss(batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIPPED)
        optimizer.step()
        steps += 1
    model.eval()
    return {"steps": steps, "cpu_seconds": round(time.process_time() - began), "seed": seed}


def scored(clips: RoomClips, videos: list[np.ndarray]) -> Record:
    """SCS over frames 1 to k, and PSNR of frame k."""
    found = clips.score(videos)
    row: Record = {"scs": round(float(found.scs.mean()), 2)}
    row["scs_at"] = {str(k): round(found.scs_at[k], 2) for k in AT}
    for k in AT:
        made, truth = (np.stack([v[k + n] for v in x]) for x, n in ((videos, -1), (clips.truth, 0)))
        row.setdefault("psnr_at", {})[str(k)] = round(psnr(made, truth), 2)
    return row


def under(clips: RoomClips, model: Dynamics, name: str, perfect: float) -> list[Record]:
    """Rows of a model under true and another clip's actions, with its action gain."""
    made = {kind: scored(clips, clips.imagined(model, kind)) for kind in ("true", "shuffled")}
    gain = (made["true"]["scs"] - made["shuffled"]["scs"]) / (100 - perfect)
    return [
        {"row": name, "gain": round(gain, 3)} | made["true"],
        {"row": f"{name}, another clip's actions"} | made["shuffled"],
    ]


def references(clips: RoomClips) -> tuple[list[Record], float]:
    """Copy and mean frame, and the SCS of a perfect model under another clip's actions."""
    perfect = scored(clips, clips.simulated("shuffled"))["scs"]
    rows = [("first frame, repeated", clips.copied()), ("mean frame", clips.mean_frame())]
    return [{"row": name} | scored(clips, videos) for name, videos in rows], perfect


def timed(models: dict[str, Dynamics]) -> Record:
    """Imagined steps per second, in turn, so that all meet the same load; CPU time."""
    count, horizon = TIMED
    context, actions = torch.zeros(1, 1, 3, 64, 64), torch.zeros(count, horizon, 3)
    found: dict[str, list[float]] = {f"{m} {d}": [] for m in models for d in ("all", "none")}
    for _ in range(ROUNDS):
        for name, model in models.items():
            for decode in ("all", "none"):
                began = time.process_time()
                model.rollout(context, actions, Sampling(decode=decode))  # type: ignore[arg-type]
                found[f"{name} {decode}"].append(count * horizon / (time.process_time() - began))
    return {name: round(float(np.median(rates)), 1) for name, rates in found.items()}


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--seconds", type=positive, default=1500, help="CPU seconds of RSSM's training")
    add("--latent_seconds", type=positive, default=300, help="of each latent model's")
    add("--seeds", type=positive, default=3, help="of the latent models")
    add("--episodes", type=positive, default=1024, help="training rooms")
    add("--batch", type=positive, default=8)
    add("--clips", type=positive, default=32, help="unseen rooms, one clip of each")
    add("--tasks", type=int, default=12, help="robots that go to a picture by the gradient")
    add("--record", type=Path, default=RECORD)


def work(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.expanduser()
    record = read(arguments.record) or {"frames": [], "paths": []}
    about = provenance(3, device="cpu", weights=[EARLIER])
    about["command"] = about["command"].replace(str(Path.home()), "~")
    keep = partial(_keep, arguments.record, about, record)
    if not record["frames"]:
        record["frames"], record["speed"] = frames(arguments, folder)
        record["frames_made_at"] = about["commit"]
        keep()
    known = {(row["row"], row["seed"]) for row in record["paths"]}
    data = rooms("rooms_latent", arguments.episodes, arguments.clips, arguments.batch)
    clips = RoomClips(data, arguments.clips, HORIZON)
    for seed in range(arguments.seeds):
        for name, weights in KINDS.items():
            if (name, seed) in known:
                continue
            torch.manual_seed(seed)
            model = LatentModel(**weights)
            budget = 1e-9 if name == "untrained" else arguments.latent_seconds
            trained = train(model, data, budget, seed)
            model.save_pretrained(folder / f"latent-{name.split()[0]}-{seed}")
            row = measured_paths(clips, model.embed, model, arguments.tasks)
            made_at = {"made_at": about["commit"]}
            record["paths"].append({"row": name} | trained | row | made_at)
            keep()
    if ("pixels", 0) not in known:
        row = measured_paths(clips, _pooled, None, 0)
        record["paths"].append({"row": "pixels", "seed": 0, "steps": 0, "cpu_seconds": 0} | row)
        keep()


def frames(arguments: argparse.Namespace, folder: Path) -> tuple[list[Record], Record]:
    """Rows of RSSM, untrained RSSM, the diffusion model and the references."""
    data = rooms("rooms_rssm", arguments.episodes, arguments.clips, arguments.batch)
    clips = RoomClips(data, arguments.clips, HORIZON)
    rows, perfect = references(clips)
    torch.manual_seed(3)
    untrained, model = RSSM(), RSSM()
    train(untrained, data, 1e-9, 3)
    trained = train(model, data, arguments.seconds, 3)
    model.save_pretrained(folder / "rssm")
    diffusion = WorldModel.from_pretrained(EARLIER)
    ceiling = [_through(model, clip) for clip in clips.clips]
    rows.append({"row": "RSSM, untrained"} | scored(clips, clips.imagined(untrained, "true")))
    rows += [row | trained for row in under(clips, model, "RSSM", perfect)]
    rows.append({"row": "truth through RSSM, frame by frame"} | scored(clips, ceiling))
    rows += under(clips, diffusion, "diffusion model", perfect)
    return rows, timed({"RSSM": model, "diffusion model": diffusion})


def _through(model: RSSM, clip: Clip) -> np.ndarray:
    batch = Clip(*default_collate([clip]))
    made = model.reconstruct(batch)[0].clamp(0, 1).mul(255).round().byte()
    return made.permute(0, 2, 3, 1).numpy().copy()


def _pooled(pictures: Tensor) -> Tensor:
    """Pixels (M, 3, 8, 8), averaged over squares of 8."""
    return torch.nn.functional.avg_pool2d(pictures, 8)


def _keep(path: Path, about: Record, record: Record) -> None:
    write(path, record | about)  # rows say at which commit they were made
    last = (record["paths"] or record["frames"])[-1]
    print(last, flush=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
