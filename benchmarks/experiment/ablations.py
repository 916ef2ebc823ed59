"""What each choice is worth: action features, start, noise, sampling steps, guidance, chaining.

    python -m benchmarks.experiment.ablations

Steps, guidance and chaining are varied on the committed export. Features, start and training noise
need a training run each: those rows are as `benchmarks/experiment/arms.py` scored them, in
`benchmarks/results/arms/`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiment.room_clips import RoomClips
from benchmarks.experiment.rooms import CLIPS, FRAMES, MAIN, row, trained, unseen_rooms
from benchmarks.measure import RESULTS, ROOT, provenance, write
from egowm.commands.rollout import default_model
from egowm.sampling import Sampling
from egowm.world_model import WorldModel

RESULT = RESULTS / "ablations.json"
STEPS = (25, 10, 5, 2, 1)
GUIDANCES = (1.5, 2.0, 3.0)
Record = dict[str, Any]


def sampling(known: Sequence[Record] = ()) -> list[Record]:
    """Rows of the committed world model, sampled in other ways, without those that are known."""
    clips = RoomClips(unseen_rooms(), CLIPS, FRAMES)
    model = WorldModel.from_pretrained(default_model())
    settings: list[tuple[str, Any, Sampling]] = [("steps", n, Sampling(steps=n)) for n in STEPS]
    settings += [("guidance", g, Sampling(guidance=g)) for g in GUIDANCES]
    settings += [("chain", "latents_only", Sampling(chain="latents_only"))]
    settings += [("chain", "pixels", Sampling(chain="pixels"))]
    done = {(r["ablation"], r["value"]) for r in known}
    rows = []
    for name, value, how in settings:
        if (name, value) in done:
            continue
        found = clips.score(clips.imagined(model, "true", how))
        about = {"ablation": name, "value": value, "actions": "true"}
        about |= {"default_steps": model.steps}
        rows.append(row(about, found))
        print(name, value, rows[-1]["scs"], rows[-1]["psnr"], flush=True)
    return rows


def variants() -> list[Record]:
    """Rows of the training runs that change one choice."""
    names = {"sinusoidal": "features", "linear": "features", "default-start": "start"}
    names |= {"high-noise": "training noise"}
    return [
        r | {"ablation": names[r["variant"]], "value": r["variant"], "run": run["run"]}
        for run in trained()
        for r in run["rows"]
        if r["variant"] in names and r["episodes"] == MAIN and r["actions"] == "true"
    ]


def _weights() -> list[Path]:
    return [default_model(), ROOT / "priors/rooms-svd"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument(
        "--merge", action="store_true", help="keep the file's own rows, take new runs in"
    )
    parser.add_argument(
        "--missing", action="store_true", help="the same, and measure the rows it has not"
    )
    args = parser.parse_args(argv)
    if args.merge or args.missing:
        record = json.loads(args.json.read_text())
        rows = [r for r in record["rows"] if "learning_rate" not in r]
        if args.missing:
            record["added"] = provenance(0, weights=_weights())
            rows += sampling(rows)
    else:
        record, rows = provenance(0, weights=_weights()), sampling()
    write(args.json, record | {"rows": rows + variants()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
