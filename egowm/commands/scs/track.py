"""Write the masks of every frame of VIDEOS, followed from the annotations of frame 0.

One npz per clip: masks (T+1, O, H, W) bool, ids (O,), evidence (T+1, O). `score --tracker masks`
reads them, so a slow tracker runs once, on a machine of its own.
"""

import argparse
from pathlib import Path

from egowm.checks import counted
from egowm.commands.parser import Parser
from egowm.commands.scs.score import check_cache
from egowm.commands.tracker_options import add_options, check_named, chosen_tracker
from egowm.files import check_folder

EPILOG = """example:
  egowm-scs track gt/ --annotations annotations/ --tracker flow --output tracks/gt
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="clips to follow structures through")
    add("--annotations", type=Path, metavar="DIR", required=True, help="frame 0's structures")
    add_options(parser, "required: one that reads frames, as for `score`")
    add("--output", type=Path, metavar="DIR", required=True, help="folder to write")
    add("--force", action="store_true", help="replace tracks that are there")
    add("--gt", type=Path, metavar="GT", help="VIDEOS are predictions: start from GT's frame 0")
    add("--first", type=Path, metavar="DIR", help="frames 0, DIR/<clip>.png, if there are none")
    add("--cache", type=Path, metavar="DIR", help="keep tracks here: nothing is tracked twice")


def run(arguments: argparse.Namespace) -> int:
    """Track, and say how much."""
    check_named(arguments)
    from egowm.scs.write_masks import TRACKED, track_folder

    check_folder(arguments.output, TRACKED, arguments.force)
    check_cache(arguments.cache)
    tracker = chosen_tracker(arguments)
    assert tracker is not None
    count = track_folder(
        arguments.videos,
        arguments.annotations,
        arguments.output,
        tracker=tracker,
        gt=arguments.gt,
        first=arguments.first,
        cache=arguments.cache,
    )
    print(f"{counted(count, 'clip is', 'clips are')} tracked in {arguments.output}")
    return 0
