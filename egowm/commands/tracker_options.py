"""The options by which every command is told its tracker."""

import argparse
from typing import get_args

from egowm.commands.parser import Parser
from egowm.scs.trackers import BUILT_IN, DType, Implementation, MaskReader, Tracker, load_tracker

_DETAILS = ("weights", "implementation", "dtype")


def add_options(parser: Parser, about: str, default: str | None = None) -> None:
    """Add --tracker, which `about` explains, and what sam2 and moog want to know."""
    add = parser.add_argument
    add("--tracker", metavar="NAME", default=default, help=about)
    add("--tracker_weights", metavar="PATH", help="sam2's .pt, folder or cached id; moog's folder")
    add(
        "--tracker_implementation",
        choices=get_args(Implementation),
        help="whose code runs sam2; native is Meta's package",
    )
    add("--tracker_dtype", choices=get_args(DType), help="what sam2 computes in")


def check_named(arguments: argparse.Namespace) -> None:
    """Raise ValueError where no tracker was named; nothing is loaded for it."""
    if arguments.tracker is None:
        raise ValueError(
            f"Give --tracker, one of {', '.join(BUILT_IN)}: the score depends on it, so none is "
            f"chosen for you."
        )


def chosen_tracker(arguments: argparse.Namespace) -> Tracker | MaskReader | None:
    """The tracker that was named, loaded; None where none was."""
    given = {name: getattr(arguments, f"tracker_{name}") for name in _DETAILS}
    if arguments.tracker is not None:
        return load_tracker(arguments.tracker, **given)
    if alone := [name for name, value in given.items() if value is not None]:
        others = " or moog" if alone[0] == "weights" else ""
        raise ValueError(f"--tracker_{alone[0]} needs --tracker sam2{others}.")
    return None
