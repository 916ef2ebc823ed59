"""Damages inputs of every command and format, thousands of times, and judges what comes of it.

`--only NUMBER` does one case again and shows its damage, made as small as it goes.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.measure import Record, benchmark, positive, provenance
from benchmarks.tables.reliability import fuzz as table
from tests.fuzz.cases import FAULTS, SECONDS, Verdict, edits_of, make, minimised, try_out
from tests.fuzz.damage import Edit
from tests.fuzz.targets import TARGETS

NAMES = tuple(TARGETS)
TURNS = tuple(name for name, target in TARGETS.items() for _ in range(target.turns))


class Found(NamedTuple):
    """A case that is a fault."""

    number: int
    target: str
    verdict: Verdict
    edits: list[Edit]


def options(add: Callable[..., Any]) -> None:
    add("--inputs", type=positive, default=10_000)
    add("--jobs", type=positive, default=1, help="inputs tried side by side")
    add("--only", type=int, metavar="NUMBER", help="one case, told in full")
    add("--target", default="", metavar="NAME", help=f"those that begin so, of {', '.join(NAMES)}")


def name_of(number: int) -> str:
    """The target of a case: each in its turns."""
    return TURNS[number % len(TURNS)]


def numbers(arguments: argparse.Namespace) -> Iterator[int]:
    """Cases; those of another seed are others."""
    first = arguments.seed * 10_000_000
    chosen = (n for n in count(first) if name_of(n).startswith(arguments.target))
    yield from islice(chosen, arguments.inputs)


def begin(root: Path, name: str) -> None:
    """The good input of a target."""
    make(name, root)
    assert try_out(name, root, []).kind == "fine", name


def tried(root: Path, number: int) -> Found:
    """What became of a case."""
    name = name_of(number)
    edits = edits_of(root, name, number)
    verdict = try_out(name, root, edits)
    if verdict.kind == "hang":  # or a machine that was busy
        verdict = try_out(name, root, edits, 4 * SECONDS)
    return Found(number, name, verdict, edits)


def run(arguments: argparse.Namespace) -> Record:
    record = provenance(arguments.seed, "cpu", packages=("torch", "numpy", "av"))
    counts = {name: Counter[str]() for name in NAMES}
    faults = []
    only = [] if arguments.only is None else [arguments.only]
    chosen = only or list(numbers(arguments))
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(arguments.jobs) as pool:
        root = Path(scratch)
        for name in sorted({name_of(number) for number in chosen}):  # they share what they make
            begin(root, name)
        for found in tqdm(pool.map(partial(tried, root), chosen), unit="input", total=len(chosen)):
            counts[found.target][found.verdict.kind] += 1
            if only or found.verdict.kind in FAULTS:
                faults.append(found)
                if only:
                    least = minimised(found.target, root, found.edits, found.verdict.kind)
                    found = found._replace(edits=least)
                tqdm.write(json.dumps(found))
    rows = [
        {"target": name, "inputs": counts[name].total()}
        | {kind: counts[name][kind] for kind in ("fine", "refused", *FAULTS)}
        for name in NAMES
        if counts[name]
    ]
    told = [{"number": f.number, "target": f.target, "kind": f.verdict.kind} for f in faults]
    limits = {"seconds": SECONDS, "inputs": sum(row["inputs"] for row in rows)}
    return record | {"settings": limits, "rows": rows, "faults": told}


main = benchmark(__file__, __doc__, "fuzz.json", options, run, table, device=False)
if __name__ == "__main__":
    sys.exit(main())
