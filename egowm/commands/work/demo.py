"""What `egowm demo` does."""

import logging
import shutil
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from egowm.checks import counted
from egowm.commands.demo_folder import DEMO, HUMANOID, TRAINING
from egowm.data.humanoid import HumanoidHalls
from egowm.data.module import ClipData
from egowm.data.public_recordings import missing
from egowm.evaluation.evaluate import annotator, evaluate
from egowm.evaluation.record import EvalRecord
from egowm.evaluation.report.run_page import write_report
from egowm.evaluation.roll_out import choose
from egowm.evaluation.rows import Row
from egowm.evaluation.table import table
from egowm.evaluation.verdict import verdict
from egowm.files import mark
from egowm.recipe import open_recipe
from egowm.shipped import default_model, recipes, share_folder
from egowm.world_model import WorldModel

log = logging.getLogger(__name__)


def run(args: Namespace) -> int:
    """The demo in the rooms, or on a real tub."""
    if args.real:
        return real(Path(args.real), args.output, args.quick)
    return rooms(args.output, args.quick)


def rooms(output: Path, quick: bool) -> int:
    """The embedded rooms: the shipped model and one trained now, for at most 2 minutes."""
    started = time.monotonic()
    budget = "00:00:00:10" if quick else "00:00:01:45"
    long = "10 seconds" if quick else "105 seconds"
    print(
        f"Training a world model from the prior for {long}, to show that training runs on this "
        "machine; its rooms are drawn first."
    )
    options = ["--data.episodes_train", "16" if quick else "64", "--data.episodes_val", "1"]
    options += ["--trainer.max_steps", "15" if quick else "240"]
    fresh, steps = train("rooms_svd", _started(output), budget, options)
    shipped = WorldModel.from_pretrained(default_model())
    trained = f"trained just now, {counted(steps, 'step')}"
    rows = [
        Row("pred", "shipped model", shipped),
        Row("pred_fresh", trained, fresh),
        Row("pred_shuffled", "shipped model, another clip's actions", shipped, "shuffled"),
    ]
    data = open_recipe(recipes()["rooms_svd"]).data()
    record = evaluate(
        rows,
        data,
        output,
        clips=2 if quick else 12,
        horizon=8,
        annotate=annotator(data, None),
        title="Rooms the model has never seen: the truth, and what it imagines",
        model=f"shipped model: {_name(shipped)}; {trained} of the same network and base",
        kind=DEMO,
    )
    body = humanoid(output / HUMANOID, quick)
    write_report(output)  # with the humanoid's section below the rooms
    return _say(
        record,
        output,
        started,
        f"Below the rooms on the page, a humanoid at its table. {verdict(body)}\n\n"
        f"The row '{trained}' is a check that training runs here, not a rival: the shipped model "
        f"took tens of thousands of steps.",
    )


def humanoid(output: Path, quick: bool) -> EvalRecord:
    """The embedded humanoid at its table, told all of its 25 dimensions; its shipped model."""
    clips = 2 if quick else 6
    data = open_recipe(recipes()["humanoid_manip_svd"]).data()
    assert isinstance(data, HumanoidHalls)
    data.counts["test"] = clips  # only those are drawn
    model = WorldModel.from_pretrained("humanoid")
    rows = [
        Row("pred", "humanoid's model", model),
        Row("pred_shuffled", "humanoid's model, another clip's actions", model, "shuffled"),
    ]
    return evaluate(
        rows,
        data,
        output,
        clips=clips,
        horizon=8,
        annotate=annotator(data, None),
        title="A humanoid of 25 dimensions at its table: its arms and hands move in view",
        model=f"{_name(model)}, trained in other halls",
    )


def real(tub: Path, output: Path, quick: bool) -> int:
    """A real tub: fine-tune, then the last fifth of the recording, scored on drawn structures."""
    started = time.monotonic()
    if not tub.is_dir():
        raise missing("DonkeyTub", tub, f"no folder {tub}; give --real FOLDER, a Donkey Car tub.")
    data = open_recipe(recipes()["donkeycar_svd"]).data(str(tub))
    annotate = _drawn(data, clips=6, horizon=8)
    budget = "00:00:00:10" if quick else "00:00:08:00"
    print(f"Fine-tuning the prior on {tub} for at most {'10 seconds' if quick else '8 minutes'}.")
    model, steps = train("donkeycar_svd", _started(output), budget, ["--data.root", str(tub)])
    rows = [
        Row("pred", "fine-tuned on this car", model),
        Row("pred_shuffled", "fine-tuned on this car, another clip's actions", model, "shuffled"),
    ]
    record = evaluate(
        rows,
        data,
        output,
        clips=6,
        horizon=8,
        tracker="flow",
        annotate=annotate,
        title="Real driving video: a small car on a taped track",
        model=f"{_name(model)}, fine-tuned on this car for {counted(steps, 'step')}",
        kind=DEMO,
    )
    shutil.rmtree(output / HUMANOID, ignore_errors=True)  # of a demo in the rooms, replaced
    return _say(record, output, started)


def _started(output: Path) -> Path:
    """The folder to train in; that of an earlier demo is gone."""
    output.mkdir(parents=True, exist_ok=True)
    mark(output, DEMO)
    shutil.rmtree(output / TRAINING, ignore_errors=True)
    return output / TRAINING


def train(recipe: str, root: Path, max_time: str, options: Sequence[str]) -> tuple[WorldModel, int]:
    """Fit a recipe for `max_time` in this process; the model as its export loads it, and its
    number of steps."""
    from egowm.commands.work.fit import build

    arguments = [
        "fit", "-c", str(recipes()[recipe]),
        "--data.batch_size", "8", "--model.warmup", "20", *options,
        "--trainer.max_time", max_time,
        "--trainer.limit_val_batches", "0",
        "--trainer.default_root_dir", str(root),
    ]  # fmt: skip
    fitted = build(arguments)
    model = fitted.model
    assert isinstance(model, WorldModel)
    model.save_pretrained(root / "export")
    return WorldModel.from_pretrained(root / "export"), fitted.trainer.global_step


def _name(model: WorldModel) -> str:
    """A model by its network and its base."""
    backbone = model.backbone
    return f"{type(backbone).__name__} from {backbone.folder.name}"


def _drawn(data: ClipData, clips: int, horizon: int) -> Callable[[str], np.ndarray] | None:
    """Structures drawn by hand on the test clips of Donkey Car's sample tub; None for others."""
    folder = share_folder("recipes") / "annotations" / "donkeycar"
    chosen = choose(data.with_horizon(horizon), clips)
    if not all((folder / f"{clip.name}.png").is_file() for clip in chosen):
        print("No structures are drawn for this tub: its clips are predicted, not scored.")
        return None
    return annotator(data, str(folder))


def _say(record: EvalRecord, output: Path, started: float, about: str = "") -> int:
    """The table, what must be known to read it, the page, and last what all of it shows."""
    minutes = (time.monotonic() - started) / 60
    page = f"{minutes:.1f} minutes. Open {output / 'report.html'} in a browser."
    for part in filter(None, [table(record), about, page, verdict(record)]):
        print(f"\n{part}")
    return 0
