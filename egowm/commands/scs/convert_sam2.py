"""Convert SAM 2's weights between Meta's checkpoint and transformers' folder.

SOURCE is whatever `--tracker_weights` reads; TARGET is a Meta checkpoint if it ends in .pt, and
otherwise a folder with config.json and model.safetensors. Both give the same scores: the protocol's
sha256 is of the weights' values.
"""

import argparse
from pathlib import Path

from egowm.commands.parser import Parser

EPILOG = """example:
  egowm-scs convert-sam2 sam2.1_hiera_tiny.pt sam2_tiny/
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a .pt file, a folder, or a cached id; no download")
    add("target", metavar="TARGET", type=Path, help="a .pt file or a folder; must not exist")


def run(arguments: argparse.Namespace) -> int:
    """Convert, and say where to."""
    from egowm.scs.trackers.sam2.weights import convert

    convert(arguments.source, arguments.target)
    print(arguments.target)
    return 0
