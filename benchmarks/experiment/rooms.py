"""The central experiment in the embedded rooms: scores, claims, picture and curve.

    python -m benchmarks.experiment.rooms --picture docs/rooms.png --curve docs/labels.svg

64 unseen rooms, 16 future frames (4 s), masks by the `palette` tracker. Rows of the committed
exports, of the references and of the simulator are measured anew; rows of other training runs are
as `benchmarks/experiment/arms.py` scored them, in `benchmarks/results/arms/`.
Intervals are 95% over clips; where there are several training runs, over runs and clips.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiment.arms import LONG, LONG_RATE, MAIN, SEEDS, TOLD, Arm
from benchmarks.experiment.claims import Table, claims, is_unet
from benchmarks.experiment.label_curve import label_curve
from benchmarks.experiment.room_clips import RoomClips, Scores
from benchmarks.measure import RESULTS, ROOT, provenance, write
from egowm.data import Rooms
from egowm.recipe import open_recipe
from egowm.scs.bootstrap import interval
from egowm.shipped import default_model, recipes
from egowm.world_model import WorldModel

CLIPS, FRAMES = 64, 16
RESULT, RECORDS = RESULTS / "rooms.json", RESULTS / "arms"
SEARCHED = (("P", MAIN, SEEDS[0], ""), ("S", MAIN, SEEDS[0], ""))  # for learning rates
EXPORTED = tuple((arm, MAIN, SEEDS[0], "") for arm in LONG)
Record = dict[str, Any]


def unseen_rooms(papers: str = "") -> Rooms:
    """The data of the recipe; `papers`: a folder of pictures for the walls."""
    data = open_recipe(recipes()["rooms_svd"]).data()
    assert isinstance(data, Rooms)
    data.papers = papers
    return data


def row(about: Record, found: Scores) -> Record:
    """One line of the table, with the scores of its clips for paired comparisons."""
    return about | {
        "scs": round(float(np.nanmean(found.scs)), 2),
        "scs_davis": round(float(np.nanmean(found.scs_davis)), 2),
        "scs_visible": round(float(np.nanmean(found.scs_visible)), 2),
        "ci95": [round(x, 2) for x in interval(found.scs) or ()],
        "psnr": round(float(found.psnr.mean()), 2),
        "scs_at": {str(k): round(v, 2) for k, v in found.scs_at.items()},
        "clips": len(found.scs),
        "frames": FRAMES,
        "clip_scs": [round(float(x), 2) for x in found.scs],
        "clip_scs_visible": [round(float(x), 2) for x in found.scs_visible],
    }


def references(clips: RoomClips, model: WorldModel, world: str) -> list[Record]:
    """Rows that no model made, and the simulator driven by wrong actions."""
    about = {"episodes": None, "seed": None, "world": world}
    videos = {
        "copy": clips.copied(),
        "mean frame": clips.mean_frame(),
        "truth through the VAE": clips.coded(model),
    }
    rows = [row(about | {"arm": n, "actions": ""}, clips.score(v)) for n, v in videos.items()]
    for kind in ("mean", "shuffled", "mirrored", "halved", "zero"):
        found = clips.score(clips.simulated(kind))
        rows.append(row(about | {"arm": "simulator", "actions": kind}, found))
    return rows


def committed() -> list[tuple[Record, Path]]:
    """The exports that travel with the repository."""
    about: Record = {"episodes": MAIN, "seed": SEEDS[0], "variant": ""}
    folder = default_model()
    exports = {"P+": folder, "S+": folder.with_name(f"{folder.name}-scratch")}
    return [(about | {"arm": arm}, path) for arm, path in exports.items() if path.is_dir()]


def measure(papers: str) -> list[Record]:
    """Rows of everything that is committed, in the test rooms and in papered ones."""
    rows = []
    for world, data in (("rooms", unseen_rooms()), ("papered", unseen_rooms(papers))):
        if world == "papered" and not papers:
            continue
        clips = RoomClips(data, CLIPS, FRAMES)
        for about, folder in committed():
            model = WorldModel.from_pretrained(folder)
            told = TOLD if world == "rooms" else TOLD[:2]
            for kind in told:
                found = clips.score(clips.imagined(model, kind))
                rows.append(row(about | {"actions": kind, "world": world}, found))
                print(_line(rows[-1]), flush=True)
        rows += references(clips, model, world)
    return rows


def trained() -> list[Record]:
    """The records of training runs, as `benchmarks/experiment/arms.py` left them."""
    return [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]


def learning_rates(runs: Sequence[Record]) -> tuple[dict[str, float], list[Record]]:
    """The best rate of each arm by validation loss at 64 episodes, and all that were tried."""
    search = []
    for run in runs:
        r = run["rows"][0]
        if _key(r) in SEARCHED and is_unet(r):
            loss = run["validation_loss"][-1][1]
            about = {"arm": r["arm"], "learning_rate": r["learning_rate"], "loss": loss}
            search.append(about | {"run": run["run"]})
    ordered = sorted(search, key=lambda r: r["loss"], reverse=True)
    best = {r["arm"]: r["learning_rate"] for r in ordered}  # the lowest comes last
    if "P" in best:
        best |= {"P0": best["P"], **dict.fromkeys(LONG, LONG_RATE)}
    return best, sorted(search, key=lambda r: (r["arm"], r["learning_rate"]))


def draw(path: Path, clips: int = 3) -> None:
    """Truth, P+, S+ and P+ with another clip's actions, frame by frame; a few rooms."""
    from PIL import Image

    scenes = RoomClips(unseen_rooms(), CLIPS, FRAMES)
    scenes.keep([k * len(scenes.clips) // clips for k in range(clips)])
    models = [WorldModel.from_pretrained(folder) for _, folder in committed()]
    videos = [[frames[1:] for frames in scenes.truth]]
    videos += [scenes.imagined(model, "true") for model in models]
    videos += [scenes.imagined(models[0], "shuffled")]
    strips = [
        np.concatenate([scenes.truth[k][0], *video[k][1::2]], 1)
        for k in range(clips)
        for video in videos
    ]
    sheet = np.concatenate(strips, 0).repeat(2, 0).repeat(2, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--papers", default="../shared/data/paintings", help="pictures for walls")
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, help="PNG of a few rooms")
    parser.add_argument("--curve", type=Path, help="SVG: SCS against labelled episodes")
    parser.add_argument(
        "--merge", action="store_true", help="keep the file's own rows, take new runs in"
    )
    args = parser.parse_args(argv)
    papers = args.papers if Path(args.papers).is_dir() else ""
    runs = trained()
    rates, search = learning_rates(runs)
    before = json.loads(args.json.read_text()) if args.json.is_file() else {"rows": []}
    measured = [r for r in before["rows"] if "learning_rate" not in r]
    origin = before if args.merge else provenance(0, weights=_weights())
    fresh = measured if args.merge else measure(papers)
    if not papers and not args.merge:
        print(f"No pictures in {args.papers}: the papered rooms keep their rows.")
        fresh += [r for r in measured if r["world"] == "papered"]
    rows = [_of_run(r) for r in fresh] + [
        r | {"run": run["run"]}
        for run in runs
        for r in run.pop("rows")
        if not _is_committed(r, rates)
    ]
    record = origin | {
        "clips": CLIPS,
        "frames": FRAMES,
        "tracker": "palette",
        "learning_rates": rates,
        "claims": claims(Table(rows, rates)),
        "search": search,
        "rows": rows,
        "training": runs,
    }
    write(args.json, record)
    for name, claim in record["claims"].items():
        print(name, {k: v for k, v in claim.items() if k != "differences"})
    if args.picture:
        draw(args.picture)
    if args.curve:
        args.curve.write_text(label_curve(record))
    return 0


def _weights() -> list[Path]:
    return [*(folder for _, folder in committed()), ROOT / "priors/rooms-svd"]


def _of_run(r: Record) -> Record:
    """With the name of the training record that a committed export comes from."""
    if r["arm"] not in LONG:
        return r
    return r | {"run": Arm(r["arm"], MAIN, SEEDS[0], LONG_RATE).name}


def _is_committed(r: Record, rates: dict[str, float]) -> bool:
    """Whether a row is of a run whose export travels along, and was measured anew."""
    return _key(r) in EXPORTED and is_unet(r) and r["learning_rate"] == rates[r["arm"]]


def _key(r: Record) -> tuple[str, int, int, str]:
    return r["arm"], r["episodes"], r["seed"], r["variant"]


def _line(r: Record) -> str:
    return f"{r['arm']:4} {r['world']:8} {r['actions']:9} SCS {r['scs']:5.1f}  {r['psnr']:.2f} dB"


if __name__ == "__main__":
    raise SystemExit(main())
