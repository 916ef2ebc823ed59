"""Do scores that need no masks, or masks by MooG, rank predictions as exact masks do?

    python -m benchmarks.scs.encoder_scores --lives ~/encoders --moog ~/moog

Predictions of unseen rooms with known errors are scored by their exact masks (`oracle`), and beside
it by trackers, by the cross-attention of SingleLife (`egowm eval --encoder`), by its feature drift
and by pixels. Each score's ranking is compared with the exact one over all (error, clip), within a
clip, and over the means of errors; the true prediction itself is left out, which every score gets
right. Controls are networks with random weights and pixels.

Expected before these rooms were scored: exact SCS falls from blur and noise (100, for nothing
moved) over vanished furniture, half-way frozen, halved speed and turn to frozen, reversed and
another room (0). Palette ranks nearly alike (0.9 and more within a clip), flow highly where it
follows anything; MooG is weak or follows nothing, because it is trained for minutes.

The attention was not unknown by then. In 12 other rooms (test rooms 100 to 111), with one
half-trained SingleLife and one untrained, eight ways of comparing maps had been tried: raw; centred
on all pairs, on the clip, on each one's own mean, on the first frame; cosines, raw and centred; and
common mass in place of the k highest. None ranked better within a clip than pixels did; centring
clip by clip ranked best over errors and clips, spread the values most, and was taken.

Pixels are compared by the mean squared error over all frames, and by PSNR as its column has it: the
mean of decibels, in which an identical frame counts as 60, so that a clip with some of them jumps.
A first run had PSNR alone, and made the attention seem better than pixels; differences are
therefore to the squared error.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.measure import Record, benchmark, positive, provenance
from benchmarks.scs import truth
from benchmarks.scs.cases import CASES, NUM_FRAMES, OTHER_ROOM
from benchmarks.scs.ranking import STATISTICS, drawn, draws, summed_up
from benchmarks.tables import encoder_scores
from egowm.encoder import patch_distance
from egowm.encoders import MooG, SingleLife
from egowm.encoders.attention_maps import structure_agreement
from egowm.evaluation.metrics.attention import K
from egowm.evaluation.metrics.metric import Sample
from egowm.evaluation.metrics.pixel import PSNR
from egowm.pixels import to_unit
from egowm.scs import score_folders
from egowm.scs.score import mean_defined
from egowm.scs.trackers import MaskReader, Tracker
from egowm.scs.trackers.moog import MooGTracker
from egowm.scs.trackers.simple import OracleMasks
from egowm.scs.withheld import num_unknown
from egowm.video import read_frames

ALL = (*CASES, OTHER_ROOM)
TRUTH, EXACT, PIXELS = "truth", "oracle", "squared error"
LIFE = re.compile(r"(?P<name>SingleLife.*)-(?P<seed>\d+)-(?P<rooms>\d+)-(?P<steps>\d+)")
MOOG = re.compile(r"MooG-off_grid-(\d+)")
UNTRAINED = ", untrained"
BY_LIFE = ("attention, centred", "attention, raw", "feature drift")
Scores = dict[str, np.ndarray]  # (runs, cases, clips) by name, higher is better


def by_trackers(folder: Path, moogs: Mapping[str, Path]) -> Scores:
    """Exact scores, and those of trackers."""
    makers: dict[str, Callable[[], Tracker | MaskReader]] = {
        name: truth.TRACKERS[name] for name in (EXACT, "palette", "flow")
    }
    makers |= {name: partial(MooGTracker, weights) for name, weights in moogs.items()}
    found = truth.measure(folder, ALL, makers)
    return {name: np.stack([found[case][name] for case in ALL])[None] for name in makers}


def bound(folder: Path, weights: Path) -> Record:
    """How many structures there are, and how many of them a MooG does not know in frame 0."""
    places = (folder / TRUTH, folder / TRUTH, folder / "annotations")
    marked = score_folders(*places, tracker=OracleMasks()).clips
    known = score_folders(*places, tracker=MooGTracker(weights), cache=folder / "cache").clips
    return {"structures": sum(len(clip.ids) for clip in marked), "unknown": num_unknown(known)}


def by_pixels(folder: Path, clips: int) -> Scores:
    """The controls: mean squared error with the other sign, in grey levels, and the column PSNR."""
    metric = PSNR()
    found = np.empty((2, len(ALL), clips))
    for number, case in enumerate(ALL):
        for k, each in enumerate(samples(folder, case, clips)):
            error = np.square(each.pred.astype(np.float64) - each.truth).mean()
            found[:, number, k] = -error, mean_defined(metric.clip(each)["psnr"])
    return {PIXELS: found[:1], "PSNR": found[1:]}


@torch.no_grad()
def by_life(export: Path, folder: Path, clips: int) -> Scores:
    """As the columns `attention` and `feature drift` of `egowm eval` have it, and the same maps
    without centring; each (1, cases, clips)."""
    model, found = SingleLife.from_pretrained(export), np.empty((len(BY_LIFE), len(ALL), clips))
    for number, case in enumerate(ALL):
        for k, sample in enumerate(samples(folder, case, clips)):
            shared, pred, true = (
                model.features(to_unit(torch.from_numpy(x).movedim(-1, 1)))
                for x in (sample.context[None], sample.pred, sample.truth)
            )
            maps = structure_agreement(model.looks(shared, pred), model.looks(shared, true), K)
            drift = patch_distance(pred[:, None], true[:, None]).mean()
            found[:, number, k] = maps.centred.mean(), maps.raw.mean(), -drift
    return {kind: values[None] for kind, values in zip(BY_LIFE, found, strict=True)}


def all_scores(
    folder: Path,
    clips: int,
    moogs: Mapping[str, Path],
    lives: Mapping[str, list[Path]],
    jobs: int = 1,
) -> Scores:
    """Of all clips, by several processes."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        tracked = pool.submit(by_trackers, folder, moogs)
        runs = {
            name: [pool.submit(by_life, export, folder, clips) for export in exports]
            for name, exports in lives.items()
        }
        found = by_pixels(folder, clips)
        for name, each in runs.items():
            made = [run.result() for run in tqdm(each, f"lives{name}", file=sys.stderr)]
            found |= {f"{k}{name}": np.concatenate([run[k] for run in made]) for k in BY_LIFE}
        return tracked.result() | found


def samples(folder: Path, case: str, clips: int) -> Iterator[Sample]:
    for k in range(clips):
        pred, true = (read_frames(folder / x / f"clip{k:03d}") for x in (case, TRUTH))
        told = (np.zeros((len(true) - 1, 0)),) * 2
        shown = (true[0], pred[1:], true[1:])
        yield Sample(f"clip{k:03d}", *shown, *told, None)  # type: ignore[arg-type]


def longest(folder: Path) -> dict[str, list[Path]]:
    """Of each kind and seed the export of the most rooms, and of these of the most steps, by what
    its rows are called."""
    best: dict[tuple[str, str], tuple[int, int, Path]] = {}
    for path in folder.iterdir():
        if told := LIFE.fullmatch(path.name):
            key, size = (told["name"], told["seed"]), (int(told["rooms"]), int(told["steps"]))
            best[key] = max(best.get(key, (0, 0, path)), (*size, path))
    found: dict[str, list[Path]] = {}
    for (name, _), (*_, path) in sorted(best.items()):
        about = name.removeprefix("SingleLife").replace("-", " ").strip()
        found.setdefault(f" ({about})" if about else "", []).append(path)
    if not found:
        raise ValueError(f"{folder}: expected exports SingleLife-SEED-ROOMS-STEPS, found none.")
    return found


def moog_of(folder: Path) -> Path:
    """The export of MooG that was trained for the most steps."""
    named = [(int(m[1]), p) for p in folder.iterdir() if (m := MOOG.fullmatch(p.name))]
    if not named:
        raise ValueError(f"{folder}: expected exports MooG-off_grid-STEPS, found none.")
    return max(named)[1]


def untrained(folder: Path, like: Path, seeds: int) -> tuple[list[Path], Path]:
    """Networks of the same shapes with random weights."""
    sizes = SingleLife.from_pretrained(like)
    names = ("size", "patch", "width", "layers", "heads", "decoder_width", "decoder_layers")
    exports = [folder / f"life-{seed}" for seed in range(seeds)]
    for seed, export in enumerate(exports):
        torch.manual_seed(seed)
        model = SingleLife(**{name: getattr(sizes, name) for name in names})
        model.configure_model()
        model.save_pretrained(export)
    torch.manual_seed(0)
    MooG().save_pretrained(folder / "moog")
    return exports, folder / "moog"


def summarise(scores: Scores, seed: int) -> Record:
    """Means by case, and how far each score ranks as the exact one does."""
    exact, rows = scores[EXACT][0], []
    chosen = draws(exact.shape[1], seed)
    errors = [k for k, case in enumerate(ALL) if case != TRUTH]
    pixels = {
        name: drawn(make, scores[PIXELS][:, errors], exact[errors], chosen)
        for name, make in STATISTICS.items()
    }
    for name, values in scores.items():
        row: Record = {"score": name, "runs": len(values)}
        row["clips"] = int((~np.isnan(values)).any((0, 1)).sum())
        row["means"] = [_number(mean_defined(case)) for case in values.swapaxes(0, 1)]
        for kind, make in STATISTICS.items():
            if name != EXACT:
                found = drawn(make, values[:, errors], exact[errors], chosen)
                row[f"by_{kind}"] = summed_up(found)._asdict()
                row[f"less_pixels_{kind}"] = summed_up(found - pixels[kind])._asdict()
        rows.append(row)
    return {"cases": ALL, "pixels": PIXELS, "rows": rows}


def _number(value: np.ndarray) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def options(add: Callable[..., Any]) -> None:
    add("--clips", type=positive, default=24, help="test rooms, 64x64")
    add("--lives", type=Path, required=True, help="exports of benchmarks.experiment.encoders")
    add("--jobs", type=positive, default=1, help="processes")
    add("--moog", type=Path, required=True, help="exports of benchmarks.experiment.moog")


def run(arguments: argparse.Namespace) -> Record:
    if arguments.clips < 10:
        raise ValueError("Expected 10 clips or more, over which an interval can be drawn.")
    lives, moog = longest(arguments.lives.expanduser()), moog_of(arguments.moog.expanduser())
    weights = [*(path for paths in lives.values() for path in paths), moog]
    record = provenance(arguments.seed, "cpu", ("numpy", "torch", "transformers"), weights=weights)
    record["command"] = record["command"].replace(str(Path.home()), "~")
    record["settings"] = {"clips": arguments.clips, "frames": NUM_FRAMES, "k": K}
    with tempfile.TemporaryDirectory() as folder:
        place, trained = Path(folder), next(iter(lives.values()))
        others, other = untrained(place / "untrained", trained[0], len(trained))
        lives[UNTRAINED] = others
        truth.draw("rooms", arguments.clips, place, ALL)
        moogs = {"moog": moog, f"moog{UNTRAINED}": other}
        scores = all_scores(place, arguments.clips, moogs, lives, arguments.jobs)
        record["bound"] = {name: bound(place, weights) for name, weights in moogs.items()}
    return record | summarise(scores, arguments.seed)


main = benchmark(
    __file__, __doc__, "encoder-scores.json", options, run, encoder_scores.scores, device=False
)
if __name__ == "__main__":
    sys.exit(main())
