"""A body of 25 dimensions: which of them a world model obeys, and where it shows the hands.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.humanoid --folder ~/halls &

Trains every arm from the recipes `humanoid_nav_svd` and `humanoid_manip_svd`, of which it changes
one thing, and scores it in 64 unseen halls. An arm that is in the record is not repeated, and one
that was stopped goes on from its last checkpoint.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.experiment.long_training import call
from benchmarks.measure import RESULTS, ROOT, Record, Script, positive, provenance, read, write

RECORD = RESULTS / "humanoid.json"
STEPS = 1500
_BACKBONE = "--model.init_args.backbone.init_args"
SCRATCH = (
    *(f"{_BACKBONE}.random", "[unet]"),
    *(f"{_BACKBONE}.start", "egowm.pretraining.copy_of_context"),
    *("--model.init_args.learning_rate", "1.2e-3"),
)


class Arm(NamedTuple):
    """A training run.

    Args:
        behaviour: "manipulation" or "navigation".
        change: What the run changes in its recipe, in words.
        options: The same as options of `egowm fit`.
    """

    behaviour: str
    change: str = "from the prior"
    options: Sequence[str] = ()


ARMS = (
    Arm("manipulation"),
    Arm("navigation"),
    Arm("manipulation", "from scratch", SCRATCH),
    Arm("navigation", "from scratch", SCRATCH),
    Arm("manipulation", "without the state", ("--data.state", "false")),
    Arm("manipulation", "each dimension by its deviation", ("--data.normaliser", "mean-std")),
    Arm("navigation", "without the state", ("--data.state", "false")),
    Arm("navigation", "each dimension by its deviation", ("--data.normaliser", "mean-std")),
)
RECIPES = {"manipulation": "humanoid_manip_svd", "navigation": "humanoid_nav_svd"}


def train(arm: Arm, folder: Path, steps: int) -> Path:
    """Train an arm, from where it stopped, and export it."""
    egowm = str(Path(sys.executable).parent / "egowm")
    fit = [egowm, "fit", "-c", f"recipes/{RECIPES[arm.behaviour]}.yaml", *arm.options]
    fit += ["--trainer.default_root_dir", str(folder), "--trainer.max_steps", str(steps)]
    fit += ["--ckpt_path", "last", "--save_every", "100", "--guard_patience", "0"]
    call(folder, [*fit, "--pictures_every", "0", "--trainer.enable_progress_bar", "false"])
    config = max(folder.glob("lightning_logs/*/config.yaml"), key=os.path.getmtime)
    export = [egowm, "export", "-c", str(config), "--half", "--output", str(folder / "export")]
    call(folder, [*export, "--force", "--ckpt_path", str(folder / "checkpoints/last.ckpt")])
    return folder / "export"


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the runs, outside the tree")
    add("--steps", type=positive, default=STEPS, help="of each arm")
    add("--record", type=Path, default=RECORD)
    add("--only_train", action="store_true", help="train and export, score nothing")


def work(arguments: argparse.Namespace) -> None:
    rows = (read(arguments.record) or {"rows": []})["rows"]
    known = {(row["behaviour"], row["change"]) for row in rows}
    for number, arm in enumerate(ARMS):
        if arm[:2] in known:
            continue
        folder = arguments.folder.expanduser() / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        export = folder / "export"
        if not export.is_dir():
            export = train(arm, folder, arguments.steps)
            print(*arm[:2], "trained", flush=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
