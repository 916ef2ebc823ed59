"""Does the committed world model obey? PSNR and SCS on unseen rooms under true and wrong actions.

    python benchmarks/obedience.py --clips 64 --horizon 8

Rows: true, shuffled (another clip's actions), zero, mirrored; copy; truth through the VAE; and the
simulator itself under the shuffled and the mean action. Intervals: 95% over clips, bootstrap.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from provenance import provenance

from egowm.data import Rooms
from egowm.evaluation.evaluate import choose, evaluate, load_data, with_horizon
from egowm.evaluation.rows import Row, derangement
from egowm.evaluation.score_table import psnr
from egowm.rollout import default_model
from egowm.scs.bootstrap import interval
from egowm.share import recipes
from egowm.video import read_frames
from egowm.world_model import WorldModel
from egowm.worlds.recording import follow

RESULT = Path(__file__).parent / "results" / "obedience.json"
KINDS = ("true", "shuffled", "zero", "mirrored")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--horizon", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default=str(default_model()))
    parser.add_argument("--json", type=Path, default=RESULT)
    parser.add_argument("--picture", type=Path, help="PNG of a few clips, truth and rollouts")
    args = parser.parse_args()
    model = WorldModel.from_pretrained(args.model)
    rows = [Row("pred" if k == "true" else f"pred_{k}", k, model, k) for k in KINDS]
    data = load_data(recipes()["rooms_svd"])
    assert isinstance(data, Rooms)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        summary = evaluate(
            rows,
            data,
            run,
            clips=args.clips,
            horizon=args.horizon,
            seed=args.seed,
            annotate=data.annotation,
        )
        per_clip = _psnrs(run, [row.folder for row in rows])
        if args.picture:
            draw(run, args.picture)
    per_clip |= _simulator(data, args.clips, args.horizon)
    named = {"pred": "true"} | {f"pred_{k}": k for k in KINDS}
    result = provenance(args.seed) | {
        "model": Path(args.model).name,
        "clips": len(per_clip["pred"]),
        "horizon": args.horizon,
        "steps": model.steps,
        "rows": [_row(named.get(n, n), v, summary.get(n, {})) for n, v in per_clip.items()],
        "true_minus_shuffled": _gap(per_clip["pred"] - per_clip["pred_shuffled"]),
    }
    args.json.parent.mkdir(exist_ok=True)
    temporary = args.json.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.rename(args.json)
    for row in result["rows"]:
        print(row)
    print("true - shuffled:", result["true_minus_shuffled"])
    return 0


def draw(run: Path, path: Path, clips: int = 3) -> None:
    """Truth, rollout with true and with shuffled actions, below each other; enlarged twice."""
    from PIL import Image

    names = sorted(p.name for p in (run / "gt").iterdir())[:clips]
    strips = [
        np.concatenate(list(read_frames(run / folder / name)), 1)
        for name in names
        for folder in ("gt", "pred", "pred_shuffled")
    ]
    sheet = np.concatenate(strips, 0).repeat(2, 0).repeat(2, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)


def _psnrs(run: Path, folders: list[str]) -> dict[str, np.ndarray]:
    """PSNR of frames 1..T for every clip (in the order of their names) and folder."""
    found: dict[str, list[float]] = {name: [] for name in [*folders, "copy", "codec"]}
    for clip in sorted(p.name for p in (run / "gt").iterdir()):
        truth = read_frames(run / "gt" / clip)
        for name in found:
            frames = np.repeat(truth[:1], len(truth), 0)
            if name != "copy":
                frames = read_frames(run / name / clip)
            found[name].append(psnr(frames[1:], truth[1:]))
    return {name: np.array(values) for name, values in found.items()}


def _simulator(data: Rooms, clips: int, horizon: int) -> dict[str, np.ndarray]:
    """A perfect world model under wrong actions: the simulator, driven by them."""
    chosen = choose(with_horizon(data, horizon), clips)
    mean = np.mean([c.actions.numpy() for c in chosen], (0, 1))
    others = derangement(len(chosen))
    found: dict[str, list[float]] = {"simulator, shuffled": [], "simulator, mean action": []}
    for clip, other in zip(chosen, others, strict=True):
        episode, start = clip.name.rsplit("_", 1)
        camera = np.load(data.folder / episode / "labels.npz")["cameras"][int(start)]
        truth = clip.frames.numpy().transpose(0, 2, 3, 1)[1:]
        for name, actions in (
            ("simulator, shuffled", chosen[other].actions.numpy()),
            ("simulator, mean action", np.tile(mean, (horizon, 1))),
        ):
            seed = int(episode.removeprefix("room_"))
            frames, _ = follow(seed, camera[[0, 1, 3]], actions, *truth.shape[1:3])
            found[name].append(psnr(frames[1:], truth))
    return {name: np.array(values) for name, values in found.items()}


def _row(name: str, values: np.ndarray, summary: dict[str, float]) -> dict[str, object]:
    return {
        "name": name,
        "psnr": round(float(values.mean()), 2),
        "ci95": [round(x, 2) for x in interval(values) or ()],
        "scs": summary.get("scs") and round(summary["scs"], 1),
    }


def _gap(values: np.ndarray) -> dict[str, object]:
    return {
        "psnr": round(float(values.mean()), 2),
        "ci95": [round(x, 2) for x in interval(values) or ()],
        "clips_where_true_wins": int((values > 0).sum()),
    }


if __name__ == "__main__":
    raise SystemExit(main())
