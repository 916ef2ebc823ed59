"""The true score of predictions with known errors, beside each tracker's.

In the simulator the masks of every prediction are known, so the true SCS is (`oracle`). The same
videos are scored by trackers that read the frames alone, through `score_folders` as
`egowm-scs score` does it. In `rooms`, the data set's own test rooms; in `slow`, a world made for
optical flow: textured, slow, hardly occluded.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.measure import Record, benchmark, positive, provenance
from benchmarks.scs.cases import CASES, RIGID, Scene, predict, rooms, slow, write_video
from benchmarks.tables import scs
from egowm.scs import score_folders
from egowm.scs.masks import write_palette
from egowm.scs.trackers import MaskReader, Tracker
from egowm.scs.trackers.flow import FlowTracker
from egowm.scs.trackers.palette import PaletteTracker
from egowm.scs.trackers.simple import CopyTracker, OracleMasks

WORLDS: dict[str, Callable[[int], Scene]] = {"rooms": rooms, "slow": slow}
TRACKERS: dict[str, Callable[[], Tracker | MaskReader]] = {
    "oracle": OracleMasks,
    "palette": PaletteTracker,
    "flow": FlowTracker,
    "flow, no gate": lambda: FlowTracker(consistency=1e3, photometric=1e3, min_evidence=0.0),
    "copy": CopyTracker,
}
BARS = {"bias": 2.0, "error": 2.0, "rank": 0.99, "vanish": 6.0}  # of flow in `slow`


def draw(world: str, clips: int, folder: Path, cases: Sequence[str] = CASES) -> None:
    """`folder/<case>/<clip>` with exact masks, and `folder/annotations`."""
    scenes = [WORLDS[world](k) for k in range(clips)]
    for k, scene in enumerate(tqdm(scenes, f"drawing {world}", unit="clip", file=sys.stderr)):
        for case in cases:
            video = predict(case, scene, scenes[(k + 1) % clips])
            first = write_video(folder / case / f"clip{k:03d}", video, scene.scored)
        write_palette(folder / "annotations" / f"clip{k:03d}.png", first)


def measure(
    folder: Path,
    cases: Sequence[str] = CASES,
    trackers: Mapping[str, Callable[[], Tracker | MaskReader]] = TRACKERS,
) -> dict[str, dict[str, np.ndarray]]:
    """Scores (clips,) by case and tracker."""
    found: dict[str, dict[str, np.ndarray]] = {}
    bar = tqdm(total=len(cases) * len(trackers), desc="scoring", file=sys.stderr)
    with bar, _quiet(logging.getLogger("egowm.scs")):
        for case in cases:
            found[case] = {}
            for name, make in trackers.items():
                places = (folder / case, folder / "truth", folder / "annotations")
                result = score_folders(*places, tracker=make(), cache=folder / "cache")
                found[case][name] = np.array([clip.score() for clip in result.clips])
                bar.update()
    return found


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Without warnings: flow says at every call that it is blind, and the table says it once."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def summarise(found: dict[str, dict[str, np.ndarray]]) -> Record:
    """Means, bias and mean error by case, and how the rigid cases are ranked."""
    rows = []
    for case, scores in found.items():
        true = scores["oracle"]
        told = {
            name: {"scs": _mean(values), **_off(values, true)}
            for name, values in scores.items()
            if name != "oracle"
        }
        row = {"case": case, "rigid": case in RIGID, "true": _mean(true)}
        rows.append(row | {"trackers": told})
    rigid = {n: np.concatenate([found[case][n] for case in RIGID]) for n in TRACKERS}
    true = rigid.pop("oracle")
    over = {
        name: _off(values, true) | {"rank": rank_correlation(values, true)}
        for name, values in rigid.items()
    }
    return {"cases": rows, "rigid": over}


def _off(values: np.ndarray, true: np.ndarray) -> dict[str, float | None]:
    return {"bias": _mean(values - true), "error": _mean(np.abs(values - true))}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's, over what both define; None where one of them is constant."""
    both = ~np.isnan(a) & ~np.isnan(b)
    ranks = [_ranks(values[both]) for values in (a, b)]
    if not both.any() or min(np.ptp(r) for r in ranks) == 0:
        return None
    return float(np.corrcoef(np.stack(ranks))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Equal values share the mean of their ranks."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[group])


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def options(add: Callable[..., Any]) -> None:
    add("--clips", type=positive, default=12, help="of the rooms, 64x64")
    add("--slow-clips", type=positive, default=4, help="of the slow world, 224x224")


def run(arguments: argparse.Namespace) -> Record:
    counts = {"rooms": arguments.clips, "slow": arguments.slow_clips}
    if min(counts.values()) < 2:
        raise ValueError("Expected 2 clips or more of each world.")
    record = provenance(0, "cpu", ("numpy", "opencv-python-headless", "mujoco"))
    record["settings"] = {"clips": counts, "frames": 16, "bars": BARS}
    record["worlds"] = {}
    for world, clips in counts.items():
        with tempfile.TemporaryDirectory() as folder:
            draw(world, clips, Path(folder))
            record["worlds"][world] = summarise(measure(Path(folder)))
    return record


main = benchmark(__file__, __doc__, "scs-truth.json", options, run, scs.truth, device=False)
if __name__ == "__main__":
    sys.exit(main())
