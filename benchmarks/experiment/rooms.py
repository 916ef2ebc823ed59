"""The central experiment in the embedded rooms: scores, claims, picture and curve.

    python -m benchmarks.experiment.rooms --picture docs/rooms.png --curve docs/labels.svg

64 unseen rooms, 16 future frames (4 s), masks by the `palette` tracker. Rows of the committed
exports, of the references and of the simulator are measured anew; rows of other training runs are
as `arms.py` scored them, in `benchmarks/results/arms/`. Intervals are 95% over clips; where there
are several training runs, over runs and clips.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.experiment.arms import (
    EXPORTS,
    LONG_RATE,
    MAIN,
    SEEDS,
    TOLD,
    Arm,
    labelled,
    learning_rates,
    trained,
)
from benchmarks.experiment.claims import Table, claims, is_unet
from benchmarks.experiment.label_curve import label_curve
from benchmarks.experiment.long_training import shipped_steps
from benchmarks.experiment.room_clips import CLIPS, FRAMES, RoomClips, Scores, unseen_clips
from benchmarks.measure import RESULTS, ROOT, Record, Script, provenance, read, write
from egowm.world_model import WorldModel

EXPORTED = tuple((arm, MAIN, SEEDS[0], "") for arm in EXPORTS if arm != "W")
HELD = ("still", "stepped")  # rows of an export besides those of TOLD


def references(clips: RoomClips, model: WorldModel, world: str) -> list[Record]:
    """Rows that no model made, and the simulator driven by wrong actions."""
    about = {"episodes": None, "seed": None, "world": world}
    videos = {
        "copy": clips.copied(),
        "mean frame": clips.mean_frame(),
        "truth through the VAE": clips.coded(model),
    }
    rows = [clips.score(v).row(about | {"arm": n, "actions": ""}) for n, v in videos.items()]
    for kind in ("mean", "shuffled", "mirrored", "halved", "zero"):
        found = clips.score(clips.simulated(kind))
        rows.append(found.row(about | {"arm": "simulator", "actions": kind}))
    return rows


def committed() -> list[Record]:
    """What is known of the exports that travel with the repository."""
    about: Record = {"seed": SEEDS[0], "variant": ""}
    rows = [about | {"arm": arm, "episodes": labelled(arm)} for arm in EXPORTS]
    return [r | ({"steps": shipped_steps()} if r["arm"] == "W" else {}) for r in rows]


def measure(papers: str) -> list[Record]:
    """Rows of everything that is committed, in the test rooms and in papered ones."""
    rows = []
    for world, told in (("rooms", TOLD + HELD), ("papered", TOLD[:2])):
        if world == "papered" and not papers:
            continue
        clips = unseen_clips(papers if world == "papered" else "")
        for about in committed():
            model = WorldModel.from_pretrained(EXPORTS[about["arm"]])
            for kind in told:
                found = scored(clips, model, kind)
                rows.append(found.row(about | {"actions": kind, "world": world}))
                print(about["arm"], world, kind, rows[-1]["scs"], rows[-1]["psnr"], flush=True)
        rows += references(clips, model, world)
    return rows


def scored(clips: RoomClips, model: WorldModel, kind: str) -> Scores:
    """One row of an export: told some actions; told to stand still and compared with the first
    frame ("still"); or each frame from the true one before it ("stepped")."""
    if kind == "still":
        return clips.score_still(clips.imagined(model, "zero"))
    return clips.score(clips.stepped(model) if kind == "stepped" else clips.imagined(model, kind))


def draw(path: Path, clips: int = 3) -> None:
    """Truth, W, W with another clip's actions, P+ and S+, frame by frame; a few rooms."""
    scenes = unseen_clips()
    scenes.keep([k * len(scenes.clips) // clips for k in range(clips)])
    models = {arm: WorldModel.from_pretrained(folder) for arm, folder in EXPORTS.items()}
    told = (("W", "true"), ("W", "shuffled"), ("P+", "true"), ("S+", "true"))
    videos = [[frames[1:] for frames in scenes.truth]]
    videos += [scenes.imagined(models[arm], kind) for arm, kind in told]
    strips = [
        np.concatenate([scenes.truth[k][0], *video[k][1::2]], 1)
        for k in range(clips)
        for video in videos
    ]
    sheet = np.concatenate(strips, 0).repeat(2, 0).repeat(2, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True)


def options(add: Callable[..., Any]) -> None:
    add("--papers", default="../shared/data/paintings", help="pictures for walls")
    add("--json", type=Path, default=RESULTS / "rooms.json")
    add("--picture", type=Path, help="PNG of a few rooms")
    add("--curve", type=Path, help="SVG: SCS against labelled episodes")
    add("--merge", action="store_true", help="keep the file's own rows, take new runs in")


def work(arguments: argparse.Namespace) -> None:
    papers = arguments.papers if Path(arguments.papers).is_dir() else ""
    before = read(arguments.json) or {"rows": []}
    measured = [r for r in before["rows"] if "learning_rate" not in r]
    if arguments.merge:
        record = merged(before, measured)
    else:
        weights = [*EXPORTS.values(), ROOT / "priors/rooms-svd"]
        origin, fresh = provenance(0, weights=weights), measure(papers)
        if not papers:
            print(f"No pictures in {arguments.papers}: the papered rooms keep their rows.")
            fresh += [r for r in measured if r["world"] == "papered"]
        record = merged(origin, fresh)
    write(arguments.json, record)
    for name, claim in record["claims"].items():
        print(name, {k: v for k, v in claim.items() if k != "differences"})
    if arguments.picture:
        draw(arguments.picture)
    if arguments.curve:
        arguments.curve.write_text(label_curve(record))


def merged(origin: Record, fresh: Sequence[Record]) -> Record:
    """The whole record: rows that were measured here, and those of training runs."""
    runs = trained()
    rates, search = learning_rates(runs)
    rows = [_of_run(r) for r in fresh]
    rows += [
        r | {"run": run["run"]} for run in runs for r in run.pop("rows") if not _is_committed(r)
    ]
    return origin | {
        "clips": CLIPS,
        "frames": FRAMES,
        "tracker": "palette",
        "learning_rates": rates,
        "claims": claims(Table(rows, rates)),
        "search": search,
        "rows": rows,
        "training": runs,
    }


def _of_run(r: Record) -> Record:
    """With the name of the training record that a committed export comes from; W began as P+."""
    if r["arm"] not in EXPORTS:
        return r
    arm = "P+" if r["arm"] == "W" else r["arm"]
    return r | {"run": Arm(arm, MAIN, SEEDS[0], LONG_RATE).name}


def _is_committed(r: Record) -> bool:
    """Whether a row is of a run whose export travels along, and was measured anew."""
    key = r["arm"], r["episodes"], r["seed"], r["variant"]
    return key in EXPORTED and is_unet(r) and r["learning_rate"] == LONG_RATE


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
