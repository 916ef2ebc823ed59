"""What latents say of depth in unseen rooms, by a linear probe; beside pixels.

    python -m benchmarks.experiment.latent_depth --folder ~/latent

FOLDER holds the exports that latent_models.py wrote. The probe is a ridge regression from all
latents of a frame to the logarithm of its depth in 8x8 squares; its weight is chosen in rooms of
their own.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.experiment import latent_models
from benchmarks.experiment.latent_models import rooms
from benchmarks.measure import RESULTS, Record, Script, positive, provenance, write
from egowm.data import Rooms
from egowm.encoders import Parts, linear_probe
from egowm.latent import LatentModel
from egowm.pixels import to_unit
from egowm.worlds.rooms import Camera, Room
from egowm.worlds.store import read_frames, read_labels

RECORD = RESULTS / "latent_depth.json"
FRAMES, CELLS = (0, 16, 32, 48), 8  # of a room's recording; squares along a side
RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
KINDS = {name.split()[0]: name for name in latent_models.KINDS}


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports")
    add("--seeds", type=positive, default=3)
    add("--episodes", type=positive, default=256, help="rooms that the probe is fitted in")
    add("--record", type=Path, default=RECORD)


def seen(data: Rooms, split: str) -> tuple[Tensor, Tensor]:
    """Frames (M, 3, H, W) in [0, 1], and log depth (M, 64) in log metres."""
    frames, depths = [], []
    data.windows(split, tiled=True)  # draws what is missing
    for seed in data.seeds(split):
        folder, room = data.folder / f"room_{seed}", Room(seed)
        frames.append(read_frames(folder, FRAMES))
        for camera in read_labels(folder)["cameras"][list(FRAMES)]:
            depths.append(np.log(room.render(Camera(*map(float, camera))).depth))
    pictures = to_unit(torch.from_numpy(np.concatenate(frames).transpose(0, 3, 1, 2).copy()))
    maps = torch.from_numpy(np.stack(depths)).float()[:, None]
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, CELLS)
    return pictures, pooled.flatten(1)


@torch.no_grad()
def work(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.expanduser()
    data = rooms("rooms_latent", arguments.episodes, 64, 8)
    splits = [seen(data, split) for split in Parts._fields]
    depths = Parts(*(depth for _, depth in splits))

    def of(encode: Callable[[Tensor], Tensor]) -> float:
        features = [torch.cat([encode(x) for x in frames.split(64)]) for frames, _ in splits]
        return round(linear_probe(Parts(*features), depths, RIDGES).r2, 3)

    rows: list[Record] = []
    for seed in range(arguments.seeds):
        for word, name in KINDS.items():
            model = LatentModel.from_pretrained(folder / f"latent-{word}-{seed}")
            rows.append({"row": name, "seed": seed, "depth": of(model.embed)})
            print(rows[-1], flush=True)
    rows.append(
        {"row": "pixels", "seed": 0, "depth": of(lambda x: torch.nn.functional.avg_pool2d(x, 8))}
    )
    about = provenance(0, device="cpu")
    about["command"] = about["command"].replace(str(Path.home()), "~")
    write(arguments.record, about | {"rows": rows})
    print(rows[-1])


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
