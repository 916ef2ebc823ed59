"""Do encoders that were trained on different lives look at the same places, and when?

    OMP_NUM_THREADS=1 setsid nohup python -m benchmarks.experiment.lives --folder ~/encoders &

A life is the training rooms of one seed. The exports of `benchmarks.experiment.encoders` in the
same folder are compared by `egowm align`: each two lives at the end of their training and on the
way, and each life with the control of another. Lives of fewer rooms are trained here, for as many
CPU seconds. What is expected: two lives agree more than a life and a control, and more than two
untrained networks, when each map is centred; more video and more training raise the agreement, and
with it the R2 of depth. It would be refuted by agreement that does not rise with training.

It was refuted of centred maps: two lives agreed most after ten to fifty steps. The maps showed why:
by then 80 to 97% of what varies in them is the same for all targets of a pair (25 to 47% at the
end), so both look at the same places of a frame, whatever patch asks. Expected of maps without that
(by target): near two untrained networks at first, rising while depth is learned.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from scipy.stats import spearmanr

from benchmarks.experiment.encoders import (
    CONTROL,
    LIVING,
    Seen,
    data_of,
    depth_r2,
    encoded,
    export_of,
    look,
    trained,
)
from benchmarks.measure import RESULTS, Record, Script, positive, provenance, read, write
from egowm.commands import align
from egowm.encoder import Encoder
from egowm.encoders import Parts
from egowm.encoders.attention_maps import Alignment
from egowm.shipped import recipes

RECORD = RESULTS / "lives.json"
RATE_HZ, FRAMES = 4, 64  # of a room's recording
FEWER = (4, 16, 64)  # rooms of shorter lives
CLIPS = 128


class Pair(NamedTuple):
    """Two exports: what each was trained on, in words, its rooms, and its steps."""

    a: str
    b: str
    rooms: int
    folders: tuple[Path, Path]
    last: bool

    @property
    def key(self) -> Record:
        steps = [steps_of(folder) for folder in self.folders]
        return {"a": self.a, "b": self.b, "rooms": self.rooms, "steps": steps}


def options(add: Callable[..., Any]) -> None:
    add("--folder", type=Path, required=True, help="of the exports, outside the tree")
    add("--seconds", type=positive, default=600, help="CPU seconds of each training")
    add("--seeds", type=positive, default=3)
    add("--rooms", type=positive, default=256, help="rooms of a whole life")
    add("--fewer", type=positive, nargs="*", default=FEWER, help="rooms of shorter lives")
    add("--record", type=Path, default=RECORD)


def work(arguments: argparse.Namespace) -> None:
    record = read(arguments.record) or {"rows": []}
    about = provenance(0, device="cpu")
    about["command"] = about["command"].replace(str(Path.home()), "~")
    folder = arguments.folder.expanduser()
    shorter(folder, arguments.fewer, arguments.seconds)
    known = [{key: row[key] for key in ("a", "b", "rooms", "steps")} for row in record["rows"]]
    seen = [look(data_of("rooms_single_life", 64), split, 8) for split in Parts._fields]
    depths: dict[Path, float] = {}
    for pair in pairs(folder, arguments.seeds, arguments.rooms, arguments.fewer):
        if pair.key in known:
            continue
        for export in pair.folders:
            if export not in depths:
                depths[export] = depth(export, seen)
        row = pair.key | {"last": pair.last, "minutes": minutes(pair.rooms)}
        row |= {"depth": [depths[export] for export in pair.folders]} | aligned(pair)
        row |= {"seconds": arguments.seconds, "commit": about["commit"]}
        record["rows"].append(row)
        record["together"] = together(record["rows"])
        write(arguments.record, record | about)
        print(row, flush=True)


def minutes(rooms: int) -> float:
    """Of video that a life has seen."""
    return round(rooms * FRAMES / RATE_HZ / 60, 1)


def shorter(folder: Path, rooms: tuple[int, ...], seconds: int) -> None:
    """Train the first two lives on fewer rooms, where their exports are not there."""
    for seed in (0, 1):
        for count in rooms:
            if not exports(export_of(LIVING, seed, folder, count)):
                trained(LIVING, seed, folder, seconds, count)


# Pairs ------------------------------------------------------------------------------------------


def exports(name: Path) -> list[Path]:
    """Of one training, by their steps."""
    found = (f for f in name.parent.glob(f"{name.name}-*") if f.is_dir())
    return sorted(found, key=steps_of)


def steps_of(export: Path) -> int:
    return int(export.name.rpartition("-")[2])


def pairs(folder: Path, seeds: int, rooms: int, fewer: tuple[int, ...]) -> Iterator[Pair]:
    """Life with life, at the end, on the way and of fewer rooms; life with another's control."""

    def life(seed: int, count: int = rooms, name: str = LIVING) -> list[Path]:
        export = export_of(name, seed, folder, count)
        if found := exports(export):
            return found
        raise ValueError(
            f"Expected exports {export}-STEPS, found none: first run "
            f"benchmarks.experiment.encoders with this folder."
        )

    for a, b in combinations(range(seeds), 2):
        both = list(zip(life(a), life(b), strict=True))
        for two in both:
            yield Pair(f"life {a}", f"life {b}", rooms, two, two == both[-1])
    for seed in range(seeds):
        other = (seed + 1) % seeds
        control = life(other, rooms, CONTROL)[-1]
        yield Pair(f"life {seed}", f"control {other}", rooms, (life(seed)[-1], control), True)
    for count in fewer:
        yield Pair("life 0", "life 1", count, (life(0, count)[-1], life(1, count)[-1]), True)


# Measures ---------------------------------------------------------------------------------------


def aligned(pair: Pair) -> Record:
    """What `egowm align` says of it."""
    with TemporaryDirectory() as temporary:
        file = Path(temporary) / "alignment.json"
        recipe = str(recipes()["rooms_single_life"])
        asked = [*map(str, pair.folders), "-c", recipe, "--clips", str(CLIPS)]
        align.main([*asked, "--output", str(file)])
        told = json.loads(file.read_text())
    return {key: told[key] for key in ("pairs", "num_pairs", "k", "chance")} | {"cas": told["rows"]}


@torch.no_grad()
def depth(export: Path, seen: list[Seen]) -> float:
    encode = Encoder.from_pretrained(export).encode
    return depth_r2(Parts(*(encoded(encode, part.pairs)[1] for part in seen)), seen)


def together(rows: list[Record]) -> Record:
    """Rank correlation of two lives' agreement, of each kind, with their mean R2 of depth, over all
    pairs of whole lives; each two lives alone, too, since what rises with training rises together.
    """
    lives = [row for row in rows if row["b"].startswith("life")]
    whole = [row for row in lives if row["rooms"] == max(r["rooms"] for r in lives)]
    groups = {"all": whole, "trained": [row for row in whole if row["last"]]}
    for row in whole:
        groups.setdefault(f"{row['a']} and {row['b']}", []).append(row)
    return {name: _ranked(found) for name, found in groups.items()}


def _ranked(rows: list[Record]) -> Record:
    read_depth = [sum(row["depth"]) / 2 for row in rows]
    found: Record = {"count": len(rows)}
    for kind in Alignment._fields:
        agreement = [row["cas"]["A and B"][kind]["mean"] for row in rows]
        rho = spearmanr(agreement, read_depth)[0] if len(rows) > 2 else None
        found[kind] = None if rho is None else round(float(rho), 3)
    return found


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
