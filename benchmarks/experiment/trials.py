"""What each choice of the long training is worth: one change at a time, for as many steps.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.trials --folder ~/trials &

Every trial goes on from the long run from the prior (P+ of `arms.py`) with the recipe of
`long_training.py`, of which it changes one thing. A trial that is in the record is not repeated,
and one that was stopped goes on from its last checkpoint.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiment.arms import EXPORTS
from benchmarks.experiment.long_training import RECIPE, call
from benchmarks.measure import (
    RESULTS,
    ROOT,
    Record,
    Script,
    made,
    positive,
    provenance,
    read,
    write,
)
from egowm.world_model import WorldModel

RECORD = RESULTS / "trials.json"
START, STEPS = EXPORTS["P+"], 600
OWN, BACKBONE = "--model.init_args.own_contexts", "--model.init_args.backbone.init_args"
BEFORE, AS_IS = "before", "reference"
NOISE_BEFORE = (
    *(f"{BACKBONE}.process_mean", "1.0", f"{BACKBONE}.process_std", "1.6"),
    *("--model.init_args.steps", "3", f"{OWN}.steps", "3"),
)
FALLING = ("--model.init_args.fall", f"[{STEPS // 2}, {STEPS}]")
TRIALS: dict[str, Sequence[str]] = {  # new ones go last: the folder of each has its number
    AS_IS: (),
    "mirrored clips": ("--model.init_args.augmentation", "{mirrored: 0.5}"),
    "paused robots": ("--model.init_args.augmentation", "{paused: 0.15}"),
    "no own contexts": (f"{OWN}.share", "0.0"),
    "64 episodes, not 1,024": ("--data.episodes_train", "64"),
    "a rate that falls over the last half": FALLING,
    "no average of the weights": ("--trainer.callbacks", "[]"),
    "noise as before: ln sigma of mean 1.0, deviation 1.6; 3 steps a frame": NOISE_BEFORE,
    "own contexts one deep": (f"{OWN}.deepest", "1", "--data.window.horizon", "2"),
    "nine own contexts in ten": (f"{OWN}.share", "0.9"),
    "noise on the context: ln strength of mean -3.0": (f"{BACKBONE}.noise_mean", "-3.0"),
    "changes drawn, not frames": (f"{BACKBONE}.predicts", "changes"),
    "a pseudo-Huber loss, c = 0.1": ("--model.init_args.huber", "0.1"),
    "noise as before, and a rate that falls over the last half": (*NOISE_BEFORE, *FALLING),
}


def train(name: str, folder: Path, steps: int) -> Path:
    """Train a trial, from where it stopped, and export it."""
    egowm = str(Path(sys.executable).parent / "egowm")
    recipe = str(RECIPE.relative_to(ROOT))
    start = ["--model.init_args.start", f"./{START.relative_to(ROOT)}"]
    plain = [*start, f"{BACKBONE}.predicts", "frames", f"{OWN}.share", "0.6"]
    plain += ["--model.init_args.augmentation", "null", "--model.init_args.huber", "null"]
    plain += ["--trainer.val_check_interval", "200"]
    fit = [egowm, "fit", "-c", recipe, *plain, *TRIALS[name]]
    fit += ["--trainer.default_root_dir", str(folder)]
    fit += ["--trainer.max_steps", str(steps), "--ckpt_path", "last", "--save_every", "100"]
    call(folder, [*fit, "--guard_patience", "0", "--pictures_every", "0"])
    config = max(folder.glob("lightning_logs/*/config.yaml"), key=os.path.getmtime)
    export = [egowm, "export", "-c", str(config), "--half", "--output", str(folder / "export")]
    call(folder, [*export, "--force", "--ckpt_path", str(folder / "checkpoints/last.ckpt")])
    return folder / "export"


def measured(export: Path) -> Record:
    """An export in 64 unseen rooms: true and other actions, standing still, single steps."""
    from benchmarks.experiment.room_clips import unseen_clips

    model, clips = WorldModel.from_pretrained(export), unseen_clips()
    true = clips.score(clips.imagined(model, "true")).row({})
    other = clips.score(clips.imagined(model, "shuffled")).row({})
    perfect = clips.score(clips.simulated("shuffled")).row({})
    still = clips.score_still(clips.imagined(model, "zero")).row({})
    stepped = clips.score(clips.stepped(model)).row({})
    return true | {
        "gain": round((true["scs"] - other["scs"]) / (100 - perfect["scs"]), 3),
        "shuffled": other["scs"],
        "still": still["scs"],
        "stepped": stepped["scs"],
    }


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the runs, outside the tree")
    add("--steps", type=positive, default=STEPS, help="of each trial")
    add("--record", type=Path, default=RECORD)
    add(
        "--only",
        nargs="+",
        choices=list(TRIALS),
        default=list(TRIALS),
        metavar="TRIAL",
        help="those to run; by default all that the record lacks",
    )


def work(arguments: argparse.Namespace) -> None:
    rows = (read(arguments.record) or {"rows": []})["rows"]
    known = {row["trial"] for row in rows}
    if not rows:
        origin = made(provenance(7, weights=[START]))
        rows.append({"trial": BEFORE, "steps": 0} | origin | measured(START))
    for number, name in enumerate(TRIALS):
        if name in known or name not in arguments.only:
            continue
        folder = arguments.folder.expanduser() / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        found = measured(train(name, folder, arguments.steps))
        about = provenance(7, weights=[START])
        rows.append({"trial": name, "steps": arguments.steps} | made(about) | found)
        about["command"] = about["command"].replace(str(Path.home()), "~")
        write(arguments.record, about | {"recipe": RECIPE.name, "rows": rows})
        print(name, rows[-1]["scs"], rows[-1]["scs_at"], flush=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
