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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.measure import RESULTS, provenance, write
from benchmarks.scs.cases import CASES, RIGID, Scene, predict, rooms, slow, write_video
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


def draw(world: str, clips: int, folder: Path) -> None:
    """`folder/<case>/<clip>` with exact masks, and `folder/annotations`."""
    scenes = [WORLDS[world](k) for k in range(clips)]
    for k, scene in enumerate(tqdm(scenes, f"drawing {world}", unit="clip", file=sys.stderr)):
        for case in CASES:
            video = predict(case, scene, scenes[(k + 1) % clips])
            first = write_video(folder / case / f"clip{k:03d}", video, scene.scored)
        write_palette(folder / "annotations" / f"clip{k:03d}.png", first)


def measure(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Scores (clips,) by case and tracker."""
    found: dict[str, dict[str, np.ndarray]] = {}
    bar = tqdm(total=len(CASES) * len(TRACKERS), desc="scoring", file=sys.stderr)
    with bar, _quiet(logging.getLogger("egowm.scs")):
        for case in CASES:
            found[case] = {}
            for name, make in TRACKERS.items():
                result = score_folders(
                    folder / case,
                    folder / "truth",
                    folder / "annotations",
                    tracker=make(),
                    cache=folder / "cache",
                )
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


def summarise(found: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """Means, bias and mean error by case, and how the rigid cases are ranked."""
    rows = []
    for case, scores in found.items():
        true = scores["oracle"]
        rows.append(
            {
                "case": case,
                "rigid": case in RIGID,
                "true": _mean(true),
                "trackers": {
                    name: {
                        "scs": _mean(values),
                        "bias": _mean(values - true),
                        "error": _mean(np.abs(values - true)),
                    }
                    for name, values in scores.items()
                    if name != "oracle"
                },
            }
        )
    rigid = {n: np.concatenate([found[case][n] for case in RIGID]) for n in TRACKERS}
    over = {
        name: {
            "bias": _mean(values - rigid["oracle"]),
            "error": _mean(np.abs(values - rigid["oracle"])),
            "rank": rank_correlation(values, rigid["oracle"]),
        }
        for name, values in rigid.items()
        if name != "oracle"
    }
    return {"cases": rows, "rigid": over}


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's, over what both define; None where one of them is constant."""
    both = ~np.isnan(a) & ~np.isnan(b)
    ranks = [_ranks(values[both]) for values in (a, b)]
    if not both.any() or min(np.ptp(r) for r in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Equal values share the mean of their ranks."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[group])


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, score, print, write the JSON file; 2 where the input is unusable."""
    parser = argparse.ArgumentParser(prog=Path(__file__).stem, description=__doc__)
    parser.add_argument("--clips", type=int, default=12, help="of the rooms, 64x64")
    parser.add_argument("--slow-clips", type=int, default=4, help="of the slow world, 224x224")
    parser.add_argument("--json", type=Path, default=RESULTS / "scs-truth.json")
    arguments = parser.parse_args(argv)
    counts = {"rooms": arguments.clips, "slow": arguments.slow_clips}
    if min(counts.values()) < 2:
        print("benchmarks/scs/truth.py: expected 2 clips or more of each world.", file=sys.stderr)
        return 2
    record = provenance(0, "cpu", ("numpy", "opencv-python-headless", "mujoco"))
    record["settings"] = {"clips": counts, "frames": 16, "bars": BARS}
    record["worlds"] = {}
    for world, clips in counts.items():
        with tempfile.TemporaryDirectory() as folder:
            draw(world, clips, Path(folder))
            record["worlds"][world] = summarise(measure(Path(folder)))
    write(arguments.json, record)
    for world, found in record["worlds"].items():
        print(world)
        for row in found["cases"]:
            shown = "  ".join(f"{n} {t['scs']:.1f}" for n, t in row["trackers"].items())
            print(f"  {row['case']:<20}{row['true']:6.1f}  {shown}")
        print(f"  rigid cases: {found['rigid']}")
    print(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
