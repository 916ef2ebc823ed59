"""Write the structures of frame 0 of every clip of GT to a folder, once for all models.

One of five ways: --masks (drawn by somebody), --prompts (points and boxes, with --tracker), --auto
(whatever a segmenter proposes and is static in GT, with --tracker), --text (what a detector finds
under these names and is static, with --detector and --tracker) or --rooms (the embedded rooms'
own). The folder must be new or empty: annotations are frozen, and one folder serves every model
compared.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from egowm.checks import counted
from egowm.commands.parser import Parser
from egowm.commands.tracker_options import add_options, chosen_tracker

if TYPE_CHECKING:
    from egowm.scs.annotation.annotate import Structures
    from egowm.scs.clips import Video
    from egowm.scs.trackers import Tracker

_WAYS = ("masks", "prompts", "auto", "text", "rooms")

EPILOG = """examples:
  egowm-scs annotate gt/ --masks drawn/ --output annotations/
  egowm-scs annotate gt/ --auto --tracker sam2 --tracker_weights sam2.1_hiera_tiny.pt \\
      --output annotations/

prompts are JSON:
  {"size": [480, 640], "clips": {"clip": [
      {"id": 1, "label": "wall", "points": [[320, 40]], "point_labels": [1],
       "box": [0, 0, 640, 200]}
  ]}}
in pixels (x, y) of pictures of that size (H, W). Labels person, hand, robot arm, screen, floor and
ceiling are left out.
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("gt", type=Path, metavar="GT", help="real clips, as for `score`")
    add("--output", type=Path, metavar="DIR", required=True, help="folder to write")
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument("--masks", type=Path, metavar="DIR", help="DIR/<clip>.png, .npz or .json")
    ways.add_argument("--prompts", type=Path, metavar="FILE", help="points and boxes, JSON")
    ways.add_argument("--auto", action="store_true", help="propose, then keep what is static")
    ways.add_argument("--text", metavar="NAMES", help='what to find: "chair, door, window"')
    ways.add_argument("--rooms", metavar="DIR", help="cache folder of the embedded rooms")
    add_options(parser, "with --prompts, --auto and --text: one that finds masks (sam2)")
    add("--detector", metavar="PATH", help="with --text: OWLv2's folder or cached id; no download")
    add(
        "--at",
        type=int,
        nargs="+",
        metavar="FRAME",
        default=[],
        help="with --auto: these frames instead of 0, for `score --reanchor`",
    )
    add("--first", type=Path, metavar="DIR", help="frames 0, DIR/<clip>.png, if GT has none")


def run(arguments: argparse.Namespace) -> int:
    """Annotate, and say how much."""
    from egowm.scs.annotation.annotate import check_output, freeze, from_masks
    from egowm.scs.clips import find_videos

    check_output(arguments.output)
    way = next(name for name in _WAYS if getattr(arguments, name) not in (None, False))
    if arguments.at and way != "auto":
        raise ValueError("--at is for --auto; draw other frames as DIR/<clip>/00004.png yourself.")
    videos = find_videos(arguments.gt, "GT", arguments.first)
    how: dict[str, object] = {"way": way}
    if way == "masks":
        found = from_masks(videos, arguments.masks)
    elif way == "rooms":
        found = _from_rooms(videos, arguments.rooms)
    else:
        tracker = _segmenter(arguments)
        how |= {"tracker": tracker.name, "options": tracker.options()}
        found = _by_tracker(arguments, way, videos, tracker)
        how |= {"names": arguments.text} if way == "text" else {}
    count = freeze(found, arguments.output, how)
    print(f"{counted(count, 'frame is', 'frames are')} annotated in {arguments.output}")
    return 0


def _from_rooms(videos: "dict[str, Video]", root: str) -> "Iterator[Structures]":
    """The simulator's own structures, for clips of `egowm.data.Rooms`; root: its cache folder."""
    import numpy as np

    from egowm.data.module import Window
    from egowm.data.rooms import Rooms
    from egowm.scs.annotation.annotate import Structures

    for name, video in videos.items():
        height, width = video.frames().shape[1:3]
        rooms = Rooms(root, Window(horizon=4, height=height, width=width))
        try:
            labels = rooms.annotation(name)
        except ValueError as error:
            raise ValueError(f"Clip {name} is no clip of the embedded rooms: {error}") from error
        ids = tuple(int(k) for k in np.unique(labels) if k)
        masks = labels == np.array(ids)[:, None, None]
        yield Structures(name, ids, masks, ("",) * len(ids))


def _segmenter(arguments: argparse.Namespace) -> "Tracker":
    from egowm.scs.trackers import Tracker

    tracker = chosen_tracker(arguments)
    if not isinstance(tracker, Tracker):
        raise ValueError("Give --tracker, one that finds the masks of points and boxes (sam2).")
    return tracker


def _by_tracker(
    arguments: argparse.Namespace, way: str, videos: "dict[str, Video]", tracker: "Tracker"
) -> "Iterator[Structures]":
    from egowm.scs.annotation.annotate import automatic, from_prompts, from_text
    from egowm.scs.annotation.detector import Detector, read_names
    from egowm.scs.annotation.prompts import read_prompts

    if way == "auto":
        return automatic(videos, tracker, arguments.at)
    if way == "text":
        if arguments.detector is None:
            raise ValueError("--text needs --detector PATH, a folder with OWLv2.")
        return from_text(videos, Detector(arguments.detector), read_names(arguments.text), tracker)
    prompts = read_prompts(arguments.prompts)
    missing = [name for name in videos if name not in prompts]
    if missing:
        raise ValueError(f"{arguments.prompts}: no prompts for {', '.join(missing[:10])}.")
    return from_prompts(videos, prompts, tracker)
