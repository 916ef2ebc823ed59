"""Which pictures are called unlike those of the rooms, before one walks in them (docs/walk.md).

Measures the domain of the embedded rooms on rooms of the training set, writes it beside the code
that reads it, and counts which of other pictures lie outside: unseen rooms, which should not, and
photographs, a game, paintings, and pictures of nothing.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, Record, benchmark, picked, positive, provenance
from benchmarks.tables.streaming import domain as table
from egowm.files import whole
from egowm.serving.domain import Domain
from egowm.video import read_image, resize
from egowm.worlds.motion import ROBOT_HEIGHT, find_start
from egowm.worlds.recording import seed_of
from egowm.worlds.rooms import Camera, Room

ABOUT = "rooms drawn by a simulator"
FILE = ROOT / "egowm/serving/rooms_domain.json"
RECORDINGS = {  # what lies in the folder of shared recordings
    "photographs of a track (Donkey Car)": "donkeycar_tub/**/*.jpg",
    "photographs of an office (TUM RGB-D)": "tum_fr1_rpy_excerpt/**/rgb/*.png",
    "a simulated desert (Udacity rover)": "udacity_rover_sim/**/*.jpg",
    "paintings": "paintings/*.[jp][pn]g",
}


def rooms(split: str, count: int) -> list[np.ndarray]:
    """What the robot sees where it starts, in the first rooms of a set."""
    found = []
    for index in range(count):
        room = Room(seed_of(split, index))
        x, y, yaw = find_start(room, np.random.default_rng([seed_of(split, index), 7]))
        found.append(room.render(Camera(x, y, ROBOT_HEIGHT, yaw)).rgb)
    return found


def nothing(seed: int) -> list[np.ndarray]:
    """Plain colours, a ramp and noise."""
    plain = [np.full((64, 64, 3), c, np.uint8) for c in ((0, 160, 0), (128, 128, 128), (0, 0, 0))]
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[:, None, None]
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3))
    return [*plain, np.broadcast_to(ramp, (64, 64, 3)).copy(), noise.astype(np.uint8)]


def spread(folder: Path, pattern: str, most: int) -> list[np.ndarray]:
    """Pictures of a recording, evenly spread."""
    paths = sorted(folder.glob(pattern))
    chosen = paths[:: max(1, len(paths) // most)][:most]
    return [resize(read_image(path)[None], 64, 64, crop=True)[0] for path in chosen]


def row(name: str, pictures: Sequence[np.ndarray], found: Domain) -> Record:
    """How many of some pictures lie outside, and how far the middle one is, in limits."""
    far = np.array([found.distance(picture) for picture in pictures]) / found.limit
    return {
        "name": name,
        "pictures": len(far),
        "unlike": int((far > 1).sum()),
        "median": float(np.median(far)),
    }


def options(add: Callable[..., Any]) -> None:
    add("--rooms", type=positive, default=500, help="on which the domain is measured")
    add("--unseen", type=positive, default=200)
    add("--most", type=positive, default=40, help="pictures of a recording")
    add("--domain", type=Path, default=FILE, help="file of the domain, which is written")


def run(arguments: argparse.Namespace) -> Record:
    """The record: a row for each kind of picture."""
    record = provenance(arguments.seed, "cpu", packages=("numpy", "mujoco"))
    record["settings"] = picked(arguments, "rooms", "unseen", "most")
    found = Domain.of(rooms("train", arguments.rooms), ABOUT)
    with whole(arguments.domain) as temporary:
        temporary.write_text(json.dumps(found.record()) + "\n", encoding="utf-8")
    rows = [row("unseen rooms", rooms("test", arguments.unseen), found)]
    shared = Path(os.environ.get("EGOWM_SHARED", ROOT.parent / "shared")) / "data"
    for name, pattern in RECORDINGS.items():
        pictures = spread(shared, pattern, arguments.most)
        rows += [row(name, pictures, found)] if pictures else []
    rows.append(row("plain colours, a ramp, noise", nothing(arguments.seed), found))
    return record | {"rows": rows}


main = benchmark(__file__, __doc__, "domain.json", options, run, table, device=False)
if __name__ == "__main__":
    sys.exit(main())
