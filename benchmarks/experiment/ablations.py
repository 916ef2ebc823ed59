"""What each choice is worth: action features, start, noise, sampling steps, guidance, chaining.

Steps, guidance and chaining are varied on the committed export. Features, start and training noise
need a training run each: those rows are as `arms.py` scored them, in `benchmarks/results/arms/`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.experiment.arms import MAIN, trained
from benchmarks.experiment.room_clips import unseen_clips
from benchmarks.measure import RESULTS, ROOT, Record, Script, provenance, read, write
from egowm.sampling import Sampling
from egowm.shipped import default_model
from egowm.world_model import WorldModel

STEPS = (25, 10, 5, 3, 2)
GUIDANCES = (1.5, 2.0, 3.0)
CHANGED = {"sinusoidal": "features", "linear": "features", "default-start": "start"}
CHANGED |= {"high-noise": "training noise"}


def sampled() -> list[Record]:
    """Rows of the committed world model, sampled in other ways."""
    clips, model = unseen_clips(), WorldModel.from_pretrained(default_model())
    settings: list[tuple[str, Any, Sampling]] = [("steps", n, Sampling(steps=n)) for n in STEPS]
    settings += [("guidance", g, Sampling(guidance=g)) for g in GUIDANCES]
    settings += [("chain", "latents_only", Sampling(chain="latents_only"))]
    settings += [("chain", "pixels", Sampling(chain="pixels"))]
    rows = []
    for name, value, how in settings:
        about = {"ablation": name, "value": value, "actions": "true", "default_steps": model.steps}
        rows.append(clips.score(clips.imagined(model, "true", how)).row(about))
        print(name, value, rows[-1]["scs"], rows[-1]["psnr"], flush=True)
    return rows


def variants() -> list[Record]:
    """Rows of the training runs that change one choice."""
    return [
        r | {"ablation": CHANGED[r["variant"]], "value": r["variant"], "run": run["run"]}
        for run in trained()
        for r in run["rows"]
        if r["variant"] in CHANGED and r["episodes"] == MAIN and r["actions"] == "true"
    ]


def options(add: Callable[..., Any]) -> None:
    add("--json", type=Path, default=RESULTS / "ablations.json")
    add("--merge", action="store_true", help="keep the file's own rows, take new runs in")


def work(arguments: argparse.Namespace) -> None:
    before = read(arguments.json) if arguments.merge else None
    if before:
        rows = [r for r in before["rows"] if "learning_rate" not in r]
        record = before | {"rows": rows + variants()}
    else:
        weights = [default_model(), ROOT / "priors/rooms-svd"]
        record = provenance(0, weights=weights) | {"rows": sampled() + variants()}
    write(arguments.json, record)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
