"""`egowm view`: a run or recordings over time, in rerun's viewer or in a file for it.

Truth, imagination, structures, actions and paths side by side, frame by frame. RUN is what `egowm
eval`, `predict`, `rollout` or `plan` wrote; DATA a folder of recordings or a recipe.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from egowm.checks import counted
from egowm.commands.parser import Parser
from egowm.commands.tables_first import add_columns, is_recipe, looked_at
from egowm.commands.tracker_options import add_options, chosen_tracker
from egowm.files import FileKind, check_file

if TYPE_CHECKING:
    from egowm.evaluation.scenes import Scene

RRD = FileKind("a recording of `egowm view`", rb"RRF2")
NEEDED = "egowm view needs rerun: pip install 'egowm[rerun]'."


def _parser() -> Parser:
    parser = Parser(
        prog="egowm view",
        description=__doc__,
        example="egowm view runs/score --output score.rrd\negowm view my_robot.yaml --split val",
    )
    add = parser.add_argument
    add("path", type=Path, metavar="RUN|DATA", help="what to look at")
    add(
        "--output",
        type=Path,
        metavar="FILE.rrd",
        help="write a file (default: open the viewer; without a display view.rrd)",
    )
    add("--clips", type=int, default=8, help="clips, rooms or episodes at most (default 8)")
    add("--frames", type=int, default=300, help="frames of an episode at most (default 300)")
    add("--split", choices=("train", "val", "test"), default="train", help="DATA's (default train)")
    add("--root", help="in place of a recipe's root")
    add_columns(parser)
    add_options(parser, "follow a run's structures by it: palette (rooms), flow (any video)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a file, or opens the viewer; prints what there is to see."""
    args = _parser().parse_args(argv)
    if min(args.clips, args.frames) < 1:
        raise ValueError("Expected --clips and --frames of at least 1.")
    if find_spec("rerun") is None:
        raise ValueError(NEEDED)
    output = args.output or (None if _has_display() else Path("view.rrd"))
    if output is not None:
        check_file(output, RRD)
    from egowm.evaluation.rerun_recording import show, write_rrd

    if output is None:
        count = show(_scenes(args))
        print(f"{counted(count, 'scene')} in the viewer")
        return 0
    count = write_rrd(_scenes(args), output)
    print(f"{output}: {counted(count, 'scene')}; open it with: rerun {output}")
    return 0


def _has_display() -> bool:
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def _scenes(args: Namespace) -> "Iterator[Scene]":
    """Of a run by what lies in its folder, else of recordings."""
    from egowm.evaluation import scenes
    from egowm.scs.trackers import MaskReader

    tracker = chosen_tracker(args)
    if isinstance(tracker, MaskReader):
        raise ValueError(f"--tracker {args.tracker}: expected one that follows frames, not masks.")
    if (args.path / "clips.json").is_file():
        return scenes.of_run(args.path, args.clips, tracker)
    if tracker is not None:
        raise ValueError(f"--tracker is for a run of `egowm eval` or `predict`, not {args.path}.")
    if (args.path / "plan.json").is_file():
        return scenes.of_plan(args.path, args.clips)
    if (args.path / "rollout.mp4").is_file():
        return scenes.of_rollout(args.path, args.clips)
    return _recordings(args)


def _recordings(args: Namespace) -> "Iterator[Scene]":
    columns = looked_at(args)
    from egowm.data.inspect.opening import open_folder
    from egowm.evaluation.scenes import of_data
    from egowm.recipe import open_recipe

    if is_recipe(args.path):
        data = open_recipe(args.path).data(args.root)
    else:
        data = open_folder(args.path, columns)
    if not data.split(args.split):
        raise ValueError(f"{args.path}: no episode in split {args.split}; choose another --split.")
    return of_data(data, args.split, args.clips, args.frames)
