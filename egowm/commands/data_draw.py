"""Recordings of the embedded humanoid at 30 Hz, in the layout of a real robot's.

`one-x` is the raw release 2.0 of 1X's humanoid, which egowm.data.OneX reads; `lerobot` is codebase
3.0, which egowm.data.LeRobot and LeRobot's own package read.
"""

import argparse
from pathlib import Path

from egowm.commands.parser import Parser


def configure(parser: Parser) -> None:
    """The options of `egowm data draw`."""
    parser.description = __doc__
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument(
        "--layout", choices=("one-x", "lerobot"), default="lerobot", help="(default %(default)s)"
    )
    parser.add_argument(
        "--behaviour",
        choices=("navigation", "manipulation"),
        default="manipulation",
        help="drive and look around, or work at a table (default %(default)s)",
    )
    parser.add_argument(
        "--episodes", type=int, default=16, help="training halls (default %(default)d)"
    )
    parser.add_argument(
        "--val_episodes", type=int, help="validation halls, for one-x alone (default 4)"
    )
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of each run (default %(default)g)"
    )
    parser.add_argument(
        "--size", type=int, default=128, help="pixels of a side, even (default %(default)d)"
    )
    parser.add_argument("--force", action="store_true", help="replace one that is there")


def run(args: argparse.Namespace) -> int:
    """Draw, and name the folder."""
    from egowm.data.humanoid_writer import write_humanoid

    write_humanoid(
        args.output,
        args.layout,
        args.behaviour,
        episodes=args.episodes,
        val_episodes=args.val_episodes,
        seconds=args.seconds,
        size=args.size,
        force=args.force,
    )
    print(args.output)
    return 0
