"""Does MooG foretell the next frame of rooms better than repeating it, and than tokens on a grid?

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.moog --folder ~/moog &

The recipe with tokens off the grid, and its two controls, for as many steps each; an export
`MooG-TOKENS-STEPS` that is there is not trained again. The error is that of the predicted frames
2, 3 ... of test clips, at all pixels, squared, of colours in [0, 1]; beside it the error of the
frame before in their place.

Expected: after 900 steps none is below the copy, which the rooms' slow frames favour; the paper
trains a thousand times as long. Tokens that are carried on should foretell more than those that are
forgotten.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from lightning import seed_everything
from torch import Tensor
from tqdm import tqdm

from benchmarks.experiment.encoders import quiet_trainer
from benchmarks.measure import Record, benchmark, positive, provenance
from benchmarks.tables import encoder_scores
from egowm.data import Rooms
from egowm.data.reading import collate
from egowm.encoders import MooG
from egowm.network.off_grid import Tokens
from egowm.recipe import build_model, open_recipe
from egowm.scs.bootstrap import interval
from egowm.shipped import recipes

RECIPE, KINDS = "rooms_moog", get_args(Tokens)


def train(tokens: str, steps: int, seed: int, export: Path) -> None:
    """By the recipe, and write the export."""
    recipe = open_recipe(recipes()[RECIPE])
    section = recipe.section("model")
    section["init_args"] |= {"tokens": tokens}
    seed_everything(seed, verbose=False)
    model = build_model(section)
    assert isinstance(model, MooG)
    quiet_trainer(RECIPE, steps).fit(model, recipe.data())
    model.save_pretrained(export)


@torch.no_grad()
def errors(model: MooG, videos: Tensor) -> tuple[float, float]:
    """Of the next frames of videos (1, F, 3, H, W), and of the frames before in their place."""
    start = model.network.start(len(videos), torch.Generator().manual_seed(0))
    predicted = model.network.unroll(videos, start).predicted[:, 1:].flatten(0, 1)
    made = model.network.decode(predicted).mT.reshape(videos[:, 1:].shape)
    next_, copy = (made - videos[:, 1:]).square(), (videos[:, 1:] - videos[:, :-1]).square()
    return float(next_.mean()), float(copy.mean())


def judged(model: MooG, clips: int) -> Record:
    """Both errors over one test clip of each of so many rooms."""
    data = open_recipe(recipes()[RECIPE]).data()
    assert isinstance(data, Rooms)
    data.prepare_data()
    windows = data.windows("test", tiled=True)
    chosen = np.unique(np.linspace(0, len(windows) - 1, clips).round().astype(int))
    found, rooms = [], []
    for number in tqdm(chosen.tolist(), "foretelling", unit="clip", file=sys.stderr):
        clip = collate([windows[number]])
        found.append(errors(model, model.videos_of(clip)))
        rooms.append(clip.name[0].rpartition("_")[0])
    columns = zip(("next", "copy"), np.array(found).T, strict=True)
    return {
        name: {"mean": round(float(x.mean()), 6), "interval": interval(x, rooms)}
        for name, x in columns
    } | {"rooms": len(set(rooms))}


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--steps", type=positive, default=900, help="of each training")
    add("--tokens", nargs="+", choices=KINDS, default=KINDS, help="train and judge these alone")
    add("--clips", type=positive, default=64, help="of test rooms")


def run(arguments: argparse.Namespace) -> Record:
    folder = arguments.folder.expanduser()
    exports = {name: folder / f"MooG-{name}-{arguments.steps}" for name in arguments.tokens}
    for name, export in exports.items():
        if not export.is_dir():
            train(name, arguments.steps, arguments.seed, export)
    record = provenance(arguments.seed, "cpu", ("torch", "lightning"), weights=[*exports.values()])
    record["command"] = record["command"].replace(str(Path.home()), "~")
    rows = [
        {"tokens": name, "steps": arguments.steps}
        | judged(MooG.from_pretrained(export), arguments.clips)
        for name, export in exports.items()
    ]
    return record | {"rows": rows}


main = benchmark(
    __file__, __doc__, "moog.json", options, run, encoder_scores.foretold, device=False
)
if __name__ == "__main__":
    sys.exit(main())
