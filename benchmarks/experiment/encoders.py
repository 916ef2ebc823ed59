"""What frozen features of image encoders say, in unseen rooms, beside pixels and untrained ones.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.encoders --folder ~/encoders &

Each encoder is trained by its recipe for as many CPU seconds, then frozen; each seed has training
rooms of its own, a life. Depth of each patch by a linear probe, the motion between two frames by an
attention probe, the room by its nearest neighbours. A row that is in the record and whose exports
are in the folder is not trained again; the record is written after each.
`benchmarks.experiment.lives` compares the exports, some of which are made on the way.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Callback, Trainer, seed_everything
from torch import Tensor

from benchmarks.measure import RESULTS, Record, Script, positive, provenance, read, write
from egowm.data import Rooms
from egowm.encoder import PatchFeatures
from egowm.encoders import Parts, attention_probe, linear_probe, nearest_neighbours, spread
from egowm.encoders.base import EncoderModule
from egowm.pixels import to_unit
from egowm.recipe import build_model, open_recipe
from egowm.shipped import recipes
from egowm.worlds.rooms import Camera, Room
from egowm.worlds.store import read_frames, read_labels

RECORD = RESULTS / "encoders.json"
STARTS, LATER = (0, 16, 32, 48), 4  # frames of a recording, and the second frame of a pair
LIFE = 1000  # rooms between the first ones of two lives
LABELLED = 2  # starts whose room is known to those who vote
TIMED, BATCH = 8, 256  # steps that foretell a training's time; frames encoded at once
WAY = (0.0625, 0.125, 0.25, 0.5, 1.0)  # shares of a training after which it is exported
LIVING, CONTROL = "SingleLife", "SingleLife, two crops of one frame"
REFERENCE = "I-JEPA"  # whose shape the untrained networks have
Encode = Callable[[Tensor], PatchFeatures]


class Arm(NamedTuple):
    """An encoder that is trained: its recipe, and what is changed in it."""

    recipe: str
    changed: dict[str, Any]


ARMS = {
    "I-JEPA": Arm("rooms_ijepa", {}),
    "I-JEPA, pixels as targets": Arm("rooms_ijepa", {"targets": "pixels"}),
    "DINOv2": Arm("rooms_dinov2", {}),
    "DINOv2, without KoLeo": Arm("rooms_dinov2", {"koleo": 0.0}),
    "DINOv2, without iBOT": Arm("rooms_dinov2", {"ibot": 0.0}),
    LIVING: Arm("rooms_single_life", {}),
    CONTROL: Arm("rooms_single_life", {"pairs": "augmented"}),
}


class Seen(NamedTuple):
    """Pairs of frames (M, 2, 3, H, W) in [0, 1], log depth (M, h, w) of the first in log metres,
    motion (M, 3) to the second in metres and radians, and the number of the room (M,)."""

    pairs: Tensor
    depth: Tensor
    motion: Tensor
    room: Tensor


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--seconds", type=positive, default=600, help="CPU seconds of each training")
    add("--seeds", type=positive, default=3)
    add("--only", nargs="+", choices=ARMS, default=list(ARMS), help="train these alone")
    add("--rooms", type=positive, default=256, help="rooms that the probes are fitted in")
    add("--record", type=Path, default=RECORD)


def work(arguments: argparse.Namespace) -> None:
    record = read(arguments.record) or {"rows": []}
    folder = arguments.folder.expanduser()
    about = provenance(0, device="cpu")
    about["command"] = about["command"].replace(str(Path.home()), "~")
    data = data_of("rooms_ijepa", arguments.rooms)
    shape = model_of(ARMS[REFERENCE])
    side = shape.size // shape.patch
    seen = [look(data, split, side) for split in Parts._fields]
    known = {(row["row"], row["seed"]) for row in record["rows"]}

    def keep(
        name: str, seed: int, make: Callable[[], tuple[Encode, Record]], there: bool = True
    ) -> None:
        if (name, seed) in known and there:
            return
        encode, about_training = make()
        row = {"row": name, "seed": seed} | about_training | probed(encode, seen, seed)
        others = [r for r in record["rows"] if (r["row"], r["seed"]) != (name, seed)]
        record["rows"] = [*others, row | {"commit": about["commit"]}]
        write(arguments.record, record | about)
        print(row, flush=True)

    keep("pixels", 0, partial(pixels, side))
    for seed in range(arguments.seeds):
        keep("untrained", seed, partial(untrained, seed))
        for name in arguments.only:
            make = partial(trained, name, seed, folder, arguments.seconds, arguments.rooms)
            export = export_of(name, seed, folder, arguments.rooms).name
            keep(name, seed, make, there=any(folder.glob(f"{export}-*")))


def data_of(recipe: str, episodes: int, life: int = 0) -> Rooms:
    """So many training rooms of a recipe; those of lives are disjoint."""
    data = open_recipe(recipes()[recipe]).data()
    assert isinstance(data, Rooms)
    data.counts |= {"train": episodes}
    data.first_train = life * LIFE
    return data


def look(data: Rooms, split: str, side: int) -> Seen:
    """All pairs of a split's rooms; what is missing is drawn."""
    data.windows(split, tiled=True)
    frames, depths, motions, rooms = [], [], [], []
    for seed in data.seeds(split):
        folder, room = data.folder / f"room_{seed}", Room(seed)
        cameras = read_labels(folder)["cameras"]
        for start in STARTS:
            frames.append(read_frames(folder, (start, start + LATER)))
            depths.append(np.log(room.render(Camera(*map(float, cameras[start]))).depth))
            motions.append(motion(cameras[start], cameras[start + LATER]))
            rooms.append(seed)
    pairs = to_unit(torch.from_numpy(np.stack(frames).transpose(0, 1, 4, 2, 3).copy()))
    depth = torch.from_numpy(np.stack(depths)).float()
    pooled = torch.nn.functional.adaptive_avg_pool2d(depth, side)
    told = torch.from_numpy(np.stack(motions)).float()
    return Seen(pairs, pooled, told, torch.tensor(rooms))


def motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Metres ahead and to the left, and radians to the left, from one camera to another."""
    (x, y), turn = after[:2] - before[:2], after[3] - before[3]
    cos, sin = np.cos(before[3]), np.sin(before[3])
    return np.array([cos * x + sin * y, cos * y - sin * x, (turn + np.pi) % (2 * np.pi) - np.pi])


# Encoders ---------------------------------------------------------------------------------------


def model_of(arm: Arm) -> EncoderModule:
    section = open_recipe(recipes()[arm.recipe]).section("model")
    section["init_args"] |= arm.changed
    model = build_model(section)
    assert isinstance(model, EncoderModule)
    return model


def pixels(side: int) -> tuple[Encode, Record]:
    """The pixels of each patch; of a frame, the mean colours of all patches."""

    def encode(frames: Tensor) -> PatchFeatures:
        size = frames.shape[-1] // side
        cut = frames.unfold(2, size, size).unfold(3, size, size)  # (B, 3, h, w, p, p)
        colours = cut.mean((4, 5)).flatten(1)
        return PatchFeatures(colours, cut.permute(0, 2, 3, 1, 4, 5).flatten(3))

    return encode, {}


def untrained(seed: int) -> tuple[Encode, Record]:
    torch.manual_seed(seed)
    model = model_of(ARMS[REFERENCE])
    model.configure_model()
    return model.encoder().encode, {}


class Exports(Callback):
    """Writes the model after some steps, each in a folder `NAME-STEPS`."""

    def __init__(self, name: Path, steps: set[int]) -> None:
        self.name, self.steps = name, steps

    def on_train_batch_end(self, trainer: Trainer, module: Any, *_: object) -> None:
        if trainer.global_step in self.steps:
            module.save_pretrained(f"{self.name}-{trainer.global_step}")


def fit(
    arm: Arm, seed: int, steps: int, rooms: int, *exports: Callback
) -> tuple[EncoderModule, float]:
    """For so many steps of the arm's recipe in the seed's own rooms, and the CPU seconds that it
    took."""
    seed_everything(seed, verbose=False)
    model, data = model_of(arm), data_of(arm.recipe, rooms, life=seed)
    trainer = quiet_trainer(arm.recipe, steps, *exports)
    began = time.process_time()
    trainer.fit(model, data)
    return model, time.process_time() - began


def quiet_trainer(recipe: str, steps: int, *callbacks: Callback) -> Trainer:
    """On the CPU, with the recipe's clipping, and nothing written but what callbacks write."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        gradient_clip_val=open_recipe(recipes()[recipe]).trainer.get("gradient_clip_val"),
        enable_model_summary=False,
        callbacks=list(callbacks),
        **quiet,  # type: ignore[arg-type]
    )


def trained(name: str, seed: int, folder: Path, seconds: int, rooms: int) -> tuple[Encode, Record]:
    """For as many steps as fit the budget, by the time of a few."""
    arm = ARMS[name]
    folder.mkdir(parents=True, exist_ok=True)
    fit(arm, seed, 1, rooms)  # draws what is missing, and warms up
    _, few = fit(arm, seed, TIMED, rooms)
    steps = max(1, int(seconds / few * TIMED))
    way = Exports(export_of(name, seed, folder, rooms), {max(1, round(x * steps)) for x in WAY})
    model, spent = fit(arm, seed, steps, rooms, way)
    return model.encoder().encode, {"rooms": rooms, "steps": steps, "cpu_seconds": round(spent)}


def export_of(name: str, seed: int, folder: Path, rooms: int) -> Path:
    """Of its exports, whose names end in the number of steps."""
    return folder / f"{name.replace(' ', '-').replace(',', '')}-{seed}-{rooms}"


# Probes -----------------------------------------------------------------------------------------


@torch.no_grad()
def encoded(encode: Encode, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Of pairs (M, 2, 3, H, W): cls (M, 2, D) and patches (M, 2, h, w, D)."""
    found = [encode(frames) for frames in pairs.flatten(0, 1).split(BATCH)]
    cls, patches = (torch.cat(parts) for parts in zip(*found, strict=True))
    return cls.unflatten(0, (-1, 2)), patches.unflatten(0, (-1, 2))


def depth_r2(patches: Parts, seen: list[Seen]) -> float:
    """Of a linear probe of each patch (M, 2, h, w, D) of the first frames."""
    firsts = Parts(*(x[:, 0].flatten(0, 2) for x in patches))
    depths = Parts(*(part.depth.flatten()[:, None] for part in seen))
    return round(linear_probe(firsts, depths).r2, 3)


def probed(encode: Encode, seen: list[Seen], seed: int) -> Record:
    """What the features say of the last of three parts (`Parts`)."""
    parts = [encoded(encode, part.pairs) for part in seen]
    cls, patches = (Parts(*(part[k] for part in parts)) for k in (0, 1))
    both = Parts(*(x.flatten(1, 3) for x in patches))
    moved = Parts(*(part.motion[:, :2] for part in seen))
    turned = Parts(*(part.motion[:, 2:] for part in seen))
    way, turn = (attention_probe(both, target, seed=seed) for target in (moved, turned))
    test, room = cls.test[:, 0], seen[-1].room
    voting = torch.arange(len(room)) % len(STARTS) < LABELLED
    same = nearest_neighbours(test[voting], room[voting], test[~voting], room[~voting], count=1)
    return {
        "depth": depth_r2(patches, seen),
        "metres": round(way.error, 4),
        "metres_r2": round(way.r2, 3),
        "degrees": round(float(np.degrees(turn.error)), 3),
        "degrees_r2": round(turn.r2, 3),
        "room": round(same, 3),
        "spread": round(spread(test), 3),
    }


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
