"""`egowm walk`: walk through a picture in the browser, with keys, touch or a gamepad.

A local server and one page; without a picture, in an embedded room, with the true simulator beside
it. The same server answers other programs: POST /v1/rollout and a websocket (docs/walk.md).
"""

import argparse
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from egowm.commands.condition_options import add_conditions
from egowm.commands.device_option import add_device
from egowm.commands.parser import Parser

NEEDS = ("starlette", "uvicorn", "websockets")
CHAINS = ("latents", "latents_only", "pixels")
MOST_SIDE = 8192
COMPILERS = ("inductor", "aot_eager", "cudagraphs")


def _parser() -> Parser:
    parser = Parser(
        prog="egowm walk",
        description=__doc__,
        example="egowm walk\negowm walk painting.jpg\negowm walk pictures/ --model "
        "runs/my_robot/export --like recordings/frames",
    )
    add = parser.add_argument
    add(
        "picture",
        nargs="?",
        type=Path,
        help="a picture, or a folder of up to 200 (default: a room)",
    )
    add("--model", help="an export (default: the rooms model that came along)")
    add("--base", help="folder of the base pipeline, if it moved")
    add("--like", type=Path, help="folder of pictures like those that the model learned from")
    add("--room", type=int, default=0, help="number of the unseen room (default 0)")
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(64, 64),
        help="pixels that pictures are cut and resized to (default 64 64)",
    )
    add("--steps", type=int, help="sampling steps (default: the export's)")
    add("--chain", choices=CHAINS, help="how a chunk starts from the one before")
    add("--block", type=int, help="actions imagined at once (default: the model's own number)")
    add_conditions(parser)
    add_device(parser, "that imagines")
    add("--compile", choices=COMPILERS, help="compile the network's blocks, which takes minutes")
    add("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    add("--port", type=int, default=8750, help="0 takes a free one (default 8750)")
    add("--token", help="word that visitors have to give (default: none, or a new one with --host)")
    add("--visitors", type=int, default=8, help="walks at once (default 8)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm walk [PICTURE|FOLDER] [--model EXPORT]`; ends on Ctrl-C, or SIGTERM, with 0."""
    arguments = _parser().parse_args(argv)
    _refuse(arguments)
    from egowm.commands.work.walk import run

    return run(arguments)


def _refuse(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be served, before torch is loaded."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ValueError(f"egowm walk needs {', '.join(missing)}: pip install 'egowm[walk]'")
    if not 0 <= arguments.port <= 65535:
        raise ValueError(f"Expected a --port from 0 to 65535, got {arguments.port}.")
    if arguments.visitors < 1 or arguments.room < 0:
        raise ValueError("Expected --visitors of at least 1 and a --room of 0 or more.")
    if not all(1 <= side <= MOST_SIDE for side in arguments.size):
        raise ValueError(f"Expected a --size from 1 to {MOST_SIDE} pixels, got {arguments.size}.")
    if arguments.token is not None and not re.fullmatch(r"[\w-]+", arguments.token, re.ASCII):
        raise ValueError("Expected a --token of letters, digits, - and _: it stands in addresses.")
    if arguments.picture is not None and not arguments.picture.exists():
        raise FileNotFoundError(f"{arguments.picture}: no such picture or folder.")
