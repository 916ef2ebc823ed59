"""Trains the rooms' world model for hours or days, in stretches, beside other work.

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.long_training --folder ~/long &

Each stretch resumes the run in `--folder` exactly, trains on, writes an export and adds a row to
`benchmarks/results/long-training.json`: SCS of 64 unseen rooms under true and other actions, gain,
PSNR and the losses. Stopped at any time, it goes on from the last checkpoint of its folder; in a
new folder, from the model that ships, the export of the last row, with a new optimizer. The first
row is the long run from the prior (P+ of `arms.py`), where all of it started. The last row may be
ahead of the model that ships, which is the one whose weights it names.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.experiment.arms import EXPORTS, PRIOR_STEPS
from benchmarks.experiment.arms import STEPS as SHORT
from benchmarks.measure import RESULTS, ROOT, Record, Script, positive, provenance, read, write
from egowm.augmentation import Augmentation
from egowm.backbones import SVD
from egowm.backbones.base import weights_sha256
from egowm.own_contexts import OwnContexts
from egowm.shipped import default_model
from egowm.world_model import WorldModel

RATE, BEGUN = "train/batches_per_second", "begun_at_step"
RECIPE, RECORD = ROOT / "benchmarks/experiment/long_training.yaml", RESULTS / "long-training.json"


class LongRun(WorldModel):
    """A world model whose training has no end: a constant rate, until it is told to fall.

    Args:
        fall: steps of the run between which the rate falls to zero in a line; null: never.
        **options: as `WorldModel`.
    """

    def __init__(
        self,
        backbone: SVD,
        own_contexts: OwnContexts,
        start: str | None = None,
        fall: tuple[int, int] | None = None,
        augmentation: Augmentation | None = None,
        learning_rate: float = 3e-4,
        warmup: int = 100,
        drop_image: float = 0.0,
        steps: int = 1,
        huber: float | None = None,
    ) -> None:
        super().__init__(
            backbone,
            learning_rate=learning_rate,
            warmup=warmup,
            drop_image=drop_image,
            steps=steps,
            own_contexts=own_contexts,
            augmentation=augmentation,
            start=start,
            huber=huber,
        )
        self.fall = fall

    def configure_optimizers(self) -> Any:
        """A constant rate after the warm-up, until it falls: the run itself has no end."""
        found = super().configure_optimizers()
        found["lr_scheduler"]["scheduler"].lr_lambdas = [self._rate]
        return found

    def _rate(self, step: int) -> float:
        rate = min(1.0, (step + 1) / self.warmup)
        if self.fall is None:
            return rate
        first, last = self.fall
        return rate * min(1.0, max(0.0, (last - step) / (last - first)))


# Stretches ------------------------------------------------------------------------------------


def begun(folder: Path, done: int) -> int:
    """The steps that were done, in all, when training in this folder began."""
    note = folder / BEGUN
    if not note.is_file():
        note.write_text(str(done))
    return int(note.read_text())


def stretch(folder: Path, done: int, steps: int, fall: Sequence[int] = ()) -> Path:
    """Train `steps` more than the `done` ones and export the average of the weights."""
    first = begun(folder, done)
    here = done + steps - first
    egowm = str(Path(sys.executable).parent / "egowm")
    recipe = str(RECIPE.relative_to(ROOT))
    fit = [egowm, "fit", "-c", recipe, "--trainer.default_root_dir", str(folder)]
    fit += ["--trainer.max_steps", str(here), "--ckpt_path", "last"]
    fit += ["--save_every", "500"]
    if fall:
        fit += ["--model.init_args.fall", str([step - first for step in fall])]
    # A constant rate leaves no end to come; the guard and the pictures are for shorter runs.
    call(folder, [*fit, "--guard_patience", "0", "--pictures_every", "0"])
    export = [egowm, "export", "-c", recipe, "--half", "--output", str(folder / "export")]
    call(folder, [*export, "--force", "--ckpt_path", str(folder / "checkpoints/last.ckpt")])
    return folder / "export"


def call(folder: Path, command: Sequence[str]) -> None:
    """Run a command of the project from its root; what it prints goes to the log of the folder."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    with (folder / "log.txt").open("a") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=True, env=environment)


def measured(export: Path) -> Record:
    """SCS, gain and PSNR of an export in 64 unseen rooms, by its own number of sampling steps; the
    same by a plainer mask rule and in 64 other rooms, standing still, and each frame from the true
    one."""
    from benchmarks.experiment.room_clips import PlainHue, unseen_clips

    model = WorldModel.from_pretrained(export)
    clips = unseen_clips()
    row: Record = {}
    videos = {kind: clips.imagined(model, kind) for kind in ("true", "shuffled", "zero")}
    simulated, stepped = clips.simulated("shuffled"), clips.stepped(model)
    for rule in (clips, clips.ruled(PlainHue())):
        true, other, perfect = map(rule.score, (videos["true"], videos["shuffled"], simulated))
        scs, shuffled = float(true.scs.mean()), float(other.scs.mean())
        still = rule.score_still(videos["zero"])
        found: Record = {
            "scs": round(scs, 2),
            "shuffled": round(shuffled, 2),
            "gain": round((scs - shuffled) / (100 - float(perfect.scs.mean())), 3),
            "psnr": round(float(true.psnr.mean()), 2),
            "scs_at": {str(k): round(v, 2) for k, v in true.scs_at.items()},
            "still": [round(float(still.scs.mean()), 2), round(float(still.psnr.mean()), 2)],
            "stepped": round(float(rule.score(stepped).scs.mean()), 2),
        }
        row |= {"plain": found} if row else found
    afresh = unseen_clips(afresh=True)
    return row | {
        "afresh": round(float(afresh.score(afresh.imagined(model, "true")).scs.mean()), 2)
    }


def shipped_steps() -> int:
    """The steps that the model that ships was trained for, all in all."""
    return int(SHORT + PRIOR_STEPS + shipped((read(RECORD) or {"rows": []})["rows"])["steps"])


def shipped(rows: Sequence[Record]) -> Record:
    """The row of the model that ships. Raises ValueError."""
    ships = weights_sha256(default_model())
    found = [row for row in rows if row.get("weights") == ships]
    if not found:
        raise ValueError(f"{RECORD.name}: expected a row of the weights that ship, {ships[:12]}...")
    return found[0]


def logged(folder: Path) -> list[list[dict[str, str]]]:
    """The rows of each log of the run: one for each time that it was started."""
    paths = sorted(folder.glob("**/metrics.csv"), key=os.path.getmtime)
    return [list(csv.DictReader(path.read_text().splitlines())) for path in paths]


def trained_seconds(folder: Path) -> float:
    """All that was trained in a folder, with what was lost when it was stopped; validation is not.

    A start that was stopped between two rows of its log is counted up to its last row.
    """
    logs = [
        [(int(r["step"]), float(r[RATE])) for r in log if r.get(RATE)] for log in logged(folder)
    ]
    gaps = [after - step for log in logs for (step, _), (after, _) in pairwise(log) if after > step]
    every = min(gaps, default=min((log[0][0] + 1 for log in logs if log), default=0))
    return sum(every / rate for log in logs for _, rate in log)


def seconds_at(rows: Sequence[Record], first: int, record: Path) -> float:
    """What had been trained when a folder's training began. Raises ValueError."""
    found = [float(row["seconds"]) for row in rows if row["steps"] == first]
    if not found:
        raise ValueError(
            f"--folder: its training began at step {first}, of which {record} has no row: give the "
            f"--record that it was begun with, or a new folder."
        )
    return found[0]


def last_losses(folder: Path) -> Record:
    """The newest validation loss, and the mean training loss of the last 40 rows logged."""
    rows = [row for log in logged(folder) for row in log]
    train = [float(r["train/loss"]) for r in rows if r.get("train/loss")][-40:]
    val = [float(r["val/loss"]) for r in rows if r.get("val/loss")][-1:]
    return {"train_loss": sum(train) / max(1, len(train)), "val_loss": val[0] if val else None}


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the run, outside the tree")
    add("--steps", type=positive, default=2000, help="of a stretch")
    add("--stretches", type=positive, default=1000)
    add("--fall", type=int, nargs=2, default=(), help="steps from and to which the rate falls to 0")
    add("--record", type=Path, default=RECORD)
    add("--again", action="store_true", help="only measure the model that ships once more")


def work(arguments: argparse.Namespace) -> None:
    folder = arguments.folder.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    rows = (read(arguments.record) or {"rows": []})["rows"]
    if arguments.again:
        shipped(rows).update(measured(default_model()))
        note(arguments, rows)
        return
    if not rows:
        rows.append({"steps": 0, "seconds": 0.0} | measured(EXPORTS["P+"]))
    if not (folder / BEGUN).is_file() and rows[-1]["steps"] and shipped(rows) is not rows[-1]:
        raise ValueError(
            f"--folder: a new one would start from the model that ships, which is behind the last "
            f"row of {arguments.record}: give the folder of that run, or ship its export first."
        )
    for _ in range(arguments.stretches):
        last = rows[-1]
        first = begun(folder, last["steps"])
        before = seconds_at(rows, first, arguments.record)
        export = stretch(folder, last["steps"], arguments.steps, arguments.fall)
        seconds = round(before + trained_seconds(folder))
        row: Record = {"steps": last["steps"] + arguments.steps, "seconds": seconds}
        row |= {"fall": list(arguments.fall)} if arguments.fall else {}
        row |= {"weights": weights_sha256(export)}
        rows.append(row | measured(export) | last_losses(folder))
        note(arguments, rows)


def note(arguments: argparse.Namespace, rows: Sequence[Record]) -> None:
    """Keep the rows, and print the last one."""
    about = provenance(7, weights=[default_model()] if arguments.again else [])
    about["command"] = about["command"].replace(str(Path.home()), "~")
    write(arguments.record, about | {"recipe": RECIPE.name, "rows": list(rows)})
    print(rows[-1], flush=True)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
