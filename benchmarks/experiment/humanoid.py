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

from benchmarks.experiment.arms import EARLIER
from benchmarks.experiment.long_training import call
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
from egowm.files import whole
from egowm.world_model import WorldModel

RECORD = RESULTS / "humanoid.json"
STEPS = 1000
_BACKBONE = "--model.init_args.backbone.init_args"
SCRATCH = (
    *(f"{_BACKBONE}.random", "[unet]"),
    *(f"{_BACKBONE}.start", "egowm.pretraining.copy_of_context"),
    *("--model.init_args.learning_rate", "1.2e-3"),
)
ROOMS = ("--model.init_args.start", str(EARLIER.relative_to(ROOT)))  # of a wheeled robot
PRIOR, FROM_ROOMS = "from the prior", "from the rooms' world model"
CHANGES = "changes drawn, not frames"
MORE = (
    *("--model.init_args.start", "{runs}/manipulation_from_the_rooms'_world_model_1000/export"),
    *("--data.episodes_train", "384"),
)


class Arm(NamedTuple):
    """A training run.

    Args:
        behaviour: "manipulation" or "navigation".
        change: What the run changes in its recipe, in words.
        options: The same as options of `egowm fit`; "{runs}" is the folder of all runs.
        steps: Of this arm; None: those of all.
    """

    behaviour: str
    change: str = PRIOR
    options: Sequence[str] = ()
    steps: int | None = None


ARMS = (
    Arm("manipulation"),
    Arm("manipulation", FROM_ROOMS, ROOMS),
    Arm("manipulation", "from scratch", SCRATCH),
    Arm("navigation"),
    Arm("navigation", FROM_ROOMS, ROOMS),
    Arm("navigation", "from scratch", SCRATCH),
    Arm("manipulation", "without the state", ("--data.state", "false")),
    Arm("manipulation", "each dimension by its deviation", ("--data.normaliser", "mean-std")),
    Arm("navigation", "without the state", ("--data.state", "false")),
    Arm("navigation", "each dimension by its deviation", ("--data.normaliser", "mean-std")),
    Arm("manipulation", CHANGES, (f"{_BACKBONE}.predicts", "changes")),
    Arm("navigation", CHANGES, (f"{_BACKBONE}.predicts", "changes")),
    Arm("manipulation", f"{FROM_ROOMS}, 2,000 steps more in 384 halls", MORE, 2000),
)
RECIPES = {"manipulation": "humanoid_manip_svd", "navigation": "humanoid_nav_svd"}


def train(arm: Arm, folder: Path, steps: int) -> Path:
    """Train an arm, from where it stopped, and export it."""
    egowm = str(Path(sys.executable).parent / "egowm")
    options = [option.replace("{runs}", str(folder.parent)) for option in arm.options]
    fit = [egowm, "fit", "-c", f"recipes/{RECIPES[arm.behaviour]}.yaml", *options]
    fit += ["--trainer.default_root_dir", str(folder), "--trainer.max_steps", str(steps)]
    fit += ["--ckpt_path", "last", "--save_every", "100", "--guard_patience", "0"]
    call(folder, [*fit, "--pictures_every", "0", "--trainer.enable_progress_bar", "false"])
    config = max(folder.glob("lightning_logs/*/config.yaml"), key=os.path.getmtime)
    export = [egowm, "export", "-c", str(config), "--half", "--output", str(folder / "export")]
    call(folder, [*export, "--force", "--ckpt_path", str(folder / "checkpoints/last.ckpt")])
    return folder / "export"


def measured(export: Path, behaviour: str) -> Record:
    """An export in 64 unseen halls: under its own and other actions, and each dimension's gain."""
    from benchmarks.experiment.hall_clips import unseen_halls

    model, clips = WorldModel.from_pretrained(export), unseen_halls(RECIPES[behaviour])
    videos = {kind: clips.imagined(model, kind) for kind in ("true", "shuffled", "zero")}
    scores = {kind: clips.score(video).row({}) for kind, video in videos.items()}
    perfect = clips.score(clips.simulated("shuffled")).row({})["scs"]
    true, other = scores["true"]["scs"], scores["shuffled"]["scs"]
    return scores["true"] | {
        "shuffled": other,
        "zero": scores["zero"]["scs"],
        "gain": round((true - other) / (100 - perfect), 3),
        "following": clips.followed(videos["true"]),
        "dimensions": clips.gains(model),
    }


def references(behaviour: str) -> list[Record]:
    """Rows that no model made."""
    from benchmarks.experiment.hall_clips import unseen_halls

    clips = unseen_halls(RECIPES[behaviour])
    videos = {
        "the first frame, repeated": clips.copied(),
        "the mean of all first frames": clips.mean_frame(),
        "truth through the VAE": clips.coded(WorldModel.from_pretrained(EARLIER)),
        "the simulator, another clip's actions": clips.simulated("shuffled"),
        "the truth": [frames[1:] for frames in clips.truth],
    }
    return [
        {"behaviour": behaviour, "change": name, "steps": None}
        | clips.score(video).row({})
        | {"following": clips.followed(video)}
        for name, video in videos.items()
    ]


def place(folder: Path, arm: Arm, steps: int) -> Path:
    """The folder of an arm's run of so many steps, or of its own."""
    steps = arm.steps or steps
    return folder.expanduser() / f"{arm.behaviour} {arm.change} {steps}".replace(" ", "_")


def _order(row: Record) -> tuple[int, int]:
    """Of a row in the table: behaviours apart, references first, then the arms as in ARMS."""
    known = [(arm.behaviour, arm.change) for arm in ARMS]
    which = row["behaviour"], row["change"]
    return [*RECIPES].index(row["behaviour"]), known.index(which) if which in known else -1


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the runs, outside the tree")
    add("--steps", type=positive, default=STEPS, help="of each arm")
    add("--record", type=Path, default=RECORD)
    add("--picture", type=Path, help="WebP to draw of the model that ships; scores nothing")
    add("--only", choices=("train", "score"), help="one of the two; score what is exported")
    changes = dict.fromkeys(arm.change for arm in ARMS)
    add("--arms", nargs="+", choices=changes, default=[*changes], metavar="ARM", help="their names")


def work(arguments: argparse.Namespace) -> None:
    if arguments.picture:
        from benchmarks.experiment.hall_clips import unseen_halls
        from benchmarks.experiment.picture import moving

        clips = unseen_halls(RECIPES["manipulation"])
        picture = moving(WorldModel.from_pretrained("humanoid"), clips)
        with whole(arguments.picture) as temporary:
            temporary.write_bytes(picture)
        return
    rows = (read(arguments.record) or {"rows": []})["rows"]
    known = {(row["behaviour"], row["change"]) for row in rows}
    for arm in ARMS:
        if (arm.behaviour, arm.change) in known or arm.change not in arguments.arms:
            continue
        folder = place(arguments.folder, arm, arguments.steps)
        folder.mkdir(parents=True, exist_ok=True)
        export, steps = folder / "export", arm.steps or arguments.steps
        if not export.is_dir():
            if arguments.only == "score":
                continue
            export = train(arm, folder, steps)
            print(*arm[:2], "trained", flush=True)
        if arguments.only == "train":
            continue
        if not any(r["behaviour"] == arm.behaviour for r in rows):
            origin = made(provenance(3, weights=[]))
            rows += [origin | row for row in references(arm.behaviour)]
        about = {"behaviour": arm.behaviour, "change": arm.change, "steps": steps}
        origin = provenance(3, weights=[ROOT / "priors/rooms-svd", EARLIER])
        row = about | made(origin) | measured(export, arm.behaviour)
        rows = sorted([*rows, row], key=_order)
        origin["command"] = origin["command"].replace(str(Path.home()), "~")
        write(arguments.record, origin | {"rows": rows})
        print(*arm[:2], row["scs"], row["gain"], flush=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
