"""How much of the past a world model is shown: UniSim's ablation of its history, small, in rooms.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.history --folder ~/history &

One CDiT for each choice of context frames: the last alone, four recent, four distant. All are
trained from scratch on the same clips under the same noise, for as many steps, and imagine the same
futures of unseen rooms from the true frames before them. A network that is in the record is not
trained again.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import default_collate

from benchmarks.experiment.room_clips import RoomClips
from benchmarks.measure import RESULTS, Record, Script, positive, provenance, read, write
from egowm.backbones import CDiT
from egowm.clip import Clip
from egowm.data import Rooms
from egowm.pixels import psnr
from egowm.recipe import open_recipe
from egowm.shipped import recipes, share_folder
from egowm.world_model import WorldModel

RECORD, HORIZON = RESULTS / "history.json", 8
PRIOR = share_folder("priors") / "rooms-svd"
AT = (1, 2, 4, 8)  # frames after the context
SIZE, BATCH, RATE, WARMUP, CLIPPED = 32, 16, 6e-4, 60, 1.0
LEVELS = (0.5, 2.0, 8.0)  # of the noise at which losses are compared


class Past(NamedTuple):
    """Frames that a network is given, and how many lie from one that it reads to the next."""

    context: int
    context_stride: int


PASTS = {"1 frame": Past(1, 1), "4 recent frames": Past(4, 1), "4 distant frames": Past(13, 4)}
LONGEST = max(past.context for past in PASTS.values())


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--steps", type=positive, default=2000)
    add("--seeds", type=positive, default=1)
    add("--episodes", type=positive, default=256, help="training rooms")
    add("--clips", type=positive, default=64, help="unseen rooms, one clip of each")
    add("--record", type=Path, default=RECORD)


def work(arguments: argparse.Namespace) -> None:
    record = read(arguments.record) or {"rows": []}
    about = provenance(0, device="cpu", weights=[PRIOR])
    about["command"] = about["command"].replace(str(Path.home()), "~")
    data = rooms(arguments.episodes, arguments.clips)
    clips = RoomClips(data, arguments.clips, HORIZON)
    if not record["rows"]:
        record["rows"].append({"row": "last frame, repeated"} | scored(clips, clips.copied()))
    known = {(row["row"], row.get("seed")) for row in record["rows"]}
    for seed in range(arguments.seeds):
        for name, past in PASTS.items():
            if (name, seed) in known:
                continue
            model, trained = train(past, data, arguments.steps, seed)
            model.save_pretrained(
                arguments.folder.expanduser() / f"{name.replace(' ', '-')}-{seed}"
            )
            record["rows"].append({"row": name} | trained | measured(model, clips))
            write(arguments.record, record | about)
            print({k: v for k, v in record["rows"][-1].items() if k != "each"}, flush=True)


def rooms(episodes: int, clips: int) -> Rooms:
    """Clips whose contexts are as long as the longest past, of small frames."""
    data = open_recipe(recipes()["rooms_cdit"]).data()
    assert isinstance(data, Rooms)
    data.window = replace(data.window, context=LONGEST, horizon=1, height=SIZE, width=SIZE)
    data.counts |= {"train": episodes, "test": clips}
    data.batch_size = BATCH
    return data


def train(past: Past, data: Rooms, steps: int, seed: int) -> tuple[WorldModel, Record]:
    """For so many steps; the rate falls to zero over them as a cosine."""
    torch.manual_seed(seed)
    data.setup("fit")
    cdit = CDiT(str(PRIOR), size="XS", **past._asdict(), memo_frames=10**6)
    model = WorldModel(cdit, steps=25, spec=data.spec)
    model.configure_model()
    model.train()
    torch.manual_seed(seed)  # the order of the clips is the same for all
    noise = torch.Generator().manual_seed(seed)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer, began, losses = torch.optim.AdamW(weights, RATE), time.process_time(), []
    for step, batch in enumerate(islice(forever(data), steps)):
        rate = RATE * min(1.0, (step + 1) / WARMUP) * (1 + np.cos(np.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss, _ = model.loss(batch, noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIPPED)
        optimizer.step()
        losses.append(float(loss.detach()))
    last = round(float(np.mean(losses[-100:])), 4)
    seconds = round(time.process_time() - began)
    about = {"context": past.context, "stride": past.context_stride, "seed": seed, "steps": steps}
    return model.eval(), about | {"cpu_seconds": seconds, "train_loss": last}


def forever(data: Rooms) -> Iterator[Clip]:
    while True:
        yield from data.train_dataloader()


def measured(model: WorldModel, clips: RoomClips) -> Record:
    """Losses of the clips' first steps, and what is imagined under their own actions."""
    losses = np.array([first_loss(model, clip) for clip in clips.clips])
    made = clips.imagined(model, "true")
    return {"loss": round(float(losses.mean()), 4)} | scored(clips, made, {"loss": losses})


@torch.no_grad()
def first_loss(model: WorldModel, clip: Clip) -> float:
    """Mean over the levels; the noise of a clip is the same for every model."""
    frames, actions = clip.frames[: LONGEST + 1], clip.actions[:1]
    batch = Clip(*default_collate([clip._replace(frames=frames, actions=actions)]))
    found = [model.loss(batch, torch.Generator().manual_seed(0), level)[0] for level in LEVELS]
    return float(torch.stack(found).mean())


def scored(
    clips: RoomClips, videos: list[np.ndarray], more: dict[str, np.ndarray] | None = None
) -> Record:
    """SCS over all frames, PSNR of some, each with the values of the clips."""
    pairs = list(zip(videos, clips.truth, strict=True))
    each = {"scs": clips.score(videos).scs}
    each |= {f"psnr_{k}": np.array([psnr(v[k - 1], t[k]) for v, t in pairs]) for k in AT}
    row = {name: round(float(np.nanmean(values)), 3) for name, values in each.items()}
    every = each | (more or {})
    return row | {"each": {name: [round(float(x), 4) for x in v] for name, v in every.items()}}


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
