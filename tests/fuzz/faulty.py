"""Targets with a fault each, by its kind: the harness must see them."""

import os
import sys
import time
from collections.abc import Callable

import numpy as np

from tests.fuzz.place import Place, Target


def make(place: Place) -> None:
    (place.inputs / "a.json").write_text('{"a": 1}')


def refuse(place: Place, *lines: str) -> int:
    print("egowm: a.json: expected a number", *lines, sep="\n", file=sys.stderr)
    return 2


def fail(place: Place) -> int:
    raise KeyError("a")


def loop(place: Place) -> int:
    while True:
        time.sleep(1)


def take_memory(place: Place) -> int:
    return len(np.ones(8 << 30, np.uint8))


def write_half(place: Place) -> int:
    (place.output / "out.json").write_text('{"a": ')
    return 0


def leave_half(place: Place) -> int:
    (place.output / "out.json").write_text("{}")
    return refuse(place)


def change_input(place: Place) -> int:
    (place.inputs / "a.json").write_text("changed")
    return 0


RUNS: dict[str, tuple[str, Callable[[Place], int]]] = {
    "works": ("fine", lambda place: 0),
    "refuses": ("refused", refuse),
    "fails": ("traceback", fail),
    "dies": ("crash", lambda place: os.abort()),
    "loops": ("hang", loop),
    "takes memory": ("memory", take_memory),
    "says much": ("several lines", lambda place: refuse(place, "and more")),
    "says nothing": ("several lines", lambda place: 2),
    "writes half": ("half-written", write_half),
    "leaves half": ("half-written", leave_half),
    "changes its input": ("input changed", change_input),
}
TARGETS = {name: Target(make, run) for name, (_, run) in RUNS.items()}
