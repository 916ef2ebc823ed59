"""How well trackers follow structures in real footage, against masks carried by depth and pose.

The recording is an excerpt of TUM RGB-D freiburg1_rpy (Sturm et al. 2012): a hand-held camera over
a desk, mostly turning, 15 frames/s. Structures are drawn on one frame. A pixel of another frame is
lifted by its depth, moved by both poses and looked up there; where either frame has no depth, or
the surface was hidden or out of view in the drawn frame, the pixel is not judged.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.measure import Record, benchmark, provenance
from benchmarks.tables import scs
from egowm.actions.poses import rotated
from egowm.scs.score import HORIZONS, clip_score, overlap
from egowm.scs.trackers import Tracker, load_tracker
from egowm.video import read_image

FOCAL, CENTRE = (517.3, 516.5), (318.6, 255.3)  # freiburg1, from the benchmark's page
DEPTH_SCALE = 5000  # of the files' unit in a metre
AGREE = 0.05  # depths this far apart, as a share, are one surface
DRAWN = 44  # the frame in which the structures are drawn
LENGTH = 16  # frames followed from there, forwards and backwards
STRUCTURES = {  # outlines in that frame, pixels (x, y)
    "book": [(71, 44), (152, 40), (128, 127), (41, 124)],
    "carton": [(205, 102), (266, 120), (286, 186), (250, 220), (203, 180), (197, 132)],
    "keyboard": [(386, 187), (639, 141), (639, 226), (418, 277)],
    "sheets, right": [(272, 207), (383, 190), (430, 345), (302, 365), (285, 280)],
    "sheets, left": [(200, 222), (275, 252), (285, 290), (291, 325), (259, 391), (133, 341)],
    "camera": [(82, 200), (120, 181), (148, 196), (140, 225), (100, 228)],
}


class Shot(NamedTuple):
    """One frame of the recording."""

    frame: np.ndarray  # (H, W, 3) uint8
    depth: np.ndarray  # (H, W) metres, 0 where unknown
    pose: np.ndarray  # (4, 4) camera to world; x right, y down, z ahead


def read_shots(root: Path) -> list[Shot]:
    """Every frame of the excerpt in `root`, in order."""
    lines = (root / "associated.txt").read_text(encoding="utf-8").splitlines()
    shots = []
    for line in lines:
        if line.startswith("#"):
            continue
        _, picture, _, depth, _, *numbers = line.split()
        raw = cv2.imread(str(root / depth), cv2.IMREAD_UNCHANGED)
        if raw is None:
            raise FileNotFoundError(f"{root / depth}: no readable depth picture.")
        pose = _pose(np.array(numbers, float))
        shots.append(Shot(read_image(root / picture), raw / DEPTH_SCALE, pose))
    return shots


def _pose(numbers: np.ndarray) -> np.ndarray:
    """tx ty tz qx qy qz qw as a matrix."""
    turn = numbers[[6, 3, 4, 5]] / np.linalg.norm(numbers[3:])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotated(turn, np.eye(3)).T, numbers[:3]
    return pose


def draw() -> np.ndarray:
    """The structures in the drawn frame, (O, H, W) bool."""
    masks = np.zeros((len(STRUCTURES), 480, 640), np.uint8)
    for mask, outline in zip(masks, STRUCTURES.values(), strict=True):
        cv2.fillPoly(mask, [np.array(outline, np.int32)], [1])
    return masks > 0


def carry(masks: np.ndarray, drawn: Shot, shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """The masks (O, H, W) of `drawn` as `shot` sees them, and where that is known, (H, W)."""
    height, width = shot.depth.shape
    rows, columns = np.mgrid[:height, :width]
    z = shot.depth
    across, down = (columns - CENTRE[0]) / FOCAL[0], (rows - CENTRE[1]) / FOCAL[1]
    points = np.stack([across * z, down * z, z, np.ones_like(z)]).reshape(4, -1)
    x, y, ahead, _ = np.linalg.inv(drawn.pose) @ shot.pose @ points
    there = (z.ravel() > 0) & (ahead > 0.1)
    safe = np.where(there, ahead, 1)
    column = np.round(FOCAL[0] * x / safe + CENTRE[0]).astype(int)
    row = np.round(FOCAL[1] * y / safe + CENTRE[1]).astype(int)
    there &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = np.where(there, row, 0), np.where(there, column, 0)
    known = there & (np.abs(drawn.depth[row, column] - ahead) < AGREE * ahead)
    carried = masks[:, row, column] & known
    return carried.reshape(masks.shape), known.reshape(height, width)


def measure(tracker: Tracker, shots: Sequence[Shot], masks: np.ndarray) -> np.ndarray:
    """IoU (O, T) in percent of what `tracker` follows from the first of `shots`; NaN undefined."""
    pairs = [carry(masks, shots[0], shot) for shot in shots]
    truth, known = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    found = tracker.track(np.stack([shot.frame for shot in shots]), masks).masks
    return 100 * overlap(found & known[:, None], truth).iou()


def options(add: Callable[..., Any]) -> None:
    add("data", type=Path, help="the folder tum_fr1_rpy_excerpt")
    add("--trackers", nargs="+", default=["flow", "copy"], metavar="NAME")
    add("--tracker_weights", help="for sam2")


def run(arguments: argparse.Namespace) -> Record:
    """The whole record."""
    record = provenance(0, "cpu", ("numpy", "opencv-python-headless"))
    recording = "TUM RGB-D freiburg1_rpy, every second frame"
    record["settings"] = {"recording": recording, "drawn": DRAWN, "frames": LENGTH}
    record["settings"] |= {"height": 480, "width": 640}
    shots, masks = read_shots(arguments.data), draw()
    ways = {
        "forwards": shots[DRAWN : DRAWN + LENGTH + 1],
        "backwards": shots[DRAWN : DRAWN - LENGTH - 1 : -1],
    }
    record["rows"] = []
    for name in tqdm(arguments.trackers, unit="tracker", file=sys.stderr):
        tracker = load_tracker(name, arguments.tracker_weights if name == "sam2" else None)
        if not isinstance(tracker, Tracker):
            raise ValueError(f"The tracker {name!r} follows nothing: it reads masks.")
        for way, chosen in ways.items():
            about = {"tracker": name, "options": tracker.options(), "way": way}
            record["rows"].append(about | scores(measure(tracker, chosen, masks)))
    return record


def scores(iou: np.ndarray) -> Record:
    """Of all structures, at some frames, and of each; iou (O, T) in percent."""
    each = [None if np.isnan(v).all() else float(np.nanmean(v)) for v in iou]
    return {
        "iou": clip_score(iou / 100),
        "iou_at": {str(k): clip_score(iou[:, k - 1 : k] / 100) for k in HORIZONS},
        "structures": dict(zip(STRUCTURES, each, strict=True)),
    }


main = benchmark(__file__, __doc__, "scs-real.json", options, run, scs.real, device=False)
if __name__ == "__main__":
    sys.exit(main())
