"""Write the structures of frame 0 of every clip of GT to a folder, once for all models.

One of four ways: --masks (drawn by somebody), --prompts (points and boxes, with --tracker), --auto
(whatever a segmenter proposes and is static in GT, with --tracker) or --rooms (the embedded rooms'
own). The folder must not exist: annotations are frozen, and one folder serves every model compared.
"""

import argparse
from pathlib import Path

from egowm.scs.trackers.options import add_options, chosen_tracker

EPILOG = """prompts are JSON:
  {"size": [480, 640], "clips": {"clip": [
      {"id": 1, "label": "wall", "points": [[320, 40]], "point_labels": [1],
       "box": [0, 0, 640, 200]}
  ]}}
in pixels (x, y) of pictures of that size (H, W). Labels person, hand, robot arm, screen, floor and
ceiling are left out.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("gt", type=Path, metavar="GT", help="real clips, as for `score`")
    add("--output", type=Path, metavar="DIR", required=True, help="folder to write")
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument("--masks", type=Path, metavar="DIR", help="DIR/<clip>.png, .npz or .json")
    ways.add_argument("--prompts", type=Path, metavar="FILE", help="points and boxes, JSON")
    ways.add_argument("--auto", action="store_true", help="propose, then keep what is static")
    ways.add_argument("--rooms", metavar="DIR", help="cache folder of the embedded rooms")
    add_options(parser, "with --prompts and --auto: one that finds masks (sam2)")
    add("--first", type=Path, metavar="DIR", help="frames 0, DIR/<clip>.png, if GT has none")


def run(arguments: argparse.Namespace) -> int:
    """Annotate, and say how much."""
    from egowm.scs.annotate import automatic, freeze, from_masks, from_prompts, from_rooms
    from egowm.scs.layouts import find_videos
    from egowm.scs.prompts import read_prompts
    from egowm.scs.trackers import Tracker

    videos = find_videos(arguments.gt, "GT", arguments.first)
    tracker = chosen_tracker(arguments)
    needs = arguments.auto or arguments.prompts is not None
    if needs and not isinstance(tracker, Tracker):
        raise ValueError("Give --tracker, one that finds the masks of points and boxes (sam2).")
    how: dict[str, object] = {"way": "masks"}
    if isinstance(tracker, Tracker) and needs:
        how = {"way": "automatic", "tracker": tracker.name, "options": tracker.options()}
    if arguments.masks is not None:
        found = from_masks(videos, arguments.masks)
    elif arguments.prompts is not None and isinstance(tracker, Tracker):
        prompts = read_prompts(arguments.prompts)
        missing = [name for name in videos if name not in prompts]
        if missing:
            raise ValueError(f"{arguments.prompts}: no prompts for {', '.join(missing[:10])}.")
        how["way"] = "prompts"
        found = from_prompts(videos, prompts, tracker)
    elif arguments.auto and isinstance(tracker, Tracker):
        found = automatic(videos, tracker)
    else:
        how["way"] = "rooms"
        found = from_rooms(videos, arguments.rooms)
    count = freeze(found, arguments.output, how)
    print(f"{count} clips are annotated in {arguments.output}")
    return 0
