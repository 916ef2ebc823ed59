"""What is tried: something that reads files, and where one case of it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """inputs: damaged. kept: not damaged, and shared by all. output: empty before."""

    inputs: Path
    kept: Path
    output: Path


@dataclass(frozen=True)
class Target:
    """A command or a reader.

    make: writes a good input. run: gives the exit status. leaves: names in the output that a
    refusal may leave (what an interrupted run goes on from, and its record). mends: names in the
    input that may be written anew (a cache). trusted: the input is
    a recipe, which is believed about how much work is to be done. turns: how often it comes up
    while others do once.
    """

    make: Callable[[Place], object]
    run: Callable[[Place], int | None]
    leaves: str = r"(?!)"
    mends: str = r"(?!)"
    trusted: bool = False
    turns: int = 4


def command(main: Callable[[list[str]], int], *words: str) -> Callable[[Place], int]:
    """A command line, with IN/, KEPT/ and OUT/ in place of the folders."""

    def run(place: Place) -> int:
        folders = {"IN": place.inputs, "KEPT": place.kept, "OUT": place.output}
        parts = (word.partition("/") for word in words)
        return main([f"{folders.get(head, head)}{slash}{rest}" for head, slash, rest in parts])

    return run
