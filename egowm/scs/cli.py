"""`egowm-scs`: score folders of generated videos against the real ones."""

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from egowm import __version__
from egowm.cli import explain
from egowm.scs.table import format_result
from egowm.scs.trackers import BUILT_IN

BELOW, BAD_INPUT, INTERRUPTED = 1, 2, 130

_EPILOG = """trackers:
  sam2      the reference, for any video; needs --tracker-weights
  palette   simulated rooms: reads each structure's own hue from every frame
  flow      any video, by optical flow; blind to structures that vanish: for a first look
  masks     PRED and GT hold masks (palette PNG or npz per clip, frame 0 included), not frames
  copy      repeats the first mask: a check of folders, not a score
  oracle    the simulator's own exact masks, in <clip>/masks/
or package.module.Class, a tracker of your own.

Exit status: 0 scored, 1 below --fail-under, 2 bad input.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 fine, 1 below --fail-under, 2 bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return BAD_INPUT
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        return _score(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        if os.environ.get("EGOWM_DEBUG"):
            traceback.print_exc()
        print(f"egowm-scs: {line}", file=sys.stderr)
        return BAD_INPUT


def _score(arguments: argparse.Namespace) -> int:
    if arguments.tracker is None:
        raise ValueError(
            f"Give --tracker, one of {', '.join(BUILT_IN)}: the score depends on it, so none is "
            f"chosen for you."
        )
    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise ValueError(f"--json: the folder {arguments.json.parent} does not exist.")
    from egowm.scs.evaluate import score_folders
    from egowm.scs.trackers import load_tracker

    result = score_folders(
        arguments.pred,
        arguments.gt,
        arguments.annotations,
        tracker=load_tracker(
            arguments.tracker,
            arguments.tracker_weights,
            arguments.tracker_implementation,
            arguments.tracker_dtype,
        ),
        ceiling_codec=arguments.ceiling_codec,
        trajectories=_read_trajectories(arguments.trajectories),
        progress=True,
    )
    if arguments.json is not None:
        result.save(arguments.json)
    print(format_result(result))
    limit = arguments.fail_under
    if limit is not None and not result.scs >= limit:
        print(f"egowm-scs: score {result.scs:.1f} is below {limit:g}", file=sys.stderr)
        return BELOW
    return 0


def _read_trajectories(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f'{path}: expected {{"clip": "trajectory", ...}}, got {type(found)}.')
    return {str(clip): str(trajectory) for clip, trajectory in found.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="egowm-scs", description=__doc__)
    parser.add_argument("--version", action="version", version=f"egowm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    score = commands.add_parser(
        "score",
        help="score every clip of PRED against GT",
        description="Score every clip of PRED against GT. A clip is a folder of pictures or a "
        "video file,\nof the same name, frames and size in both; frame 0 is the shared one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = score.add_argument
    add("pred", type=Path, metavar="PRED", help="generated clips")
    add("gt", type=Path, metavar="GT", help="real clips")
    add("--tracker", metavar="NAME", help="required: a name below, or a class")
    add("--tracker-weights", metavar="PATH", help="sam2's .pt, folder or cached id; no download")
    add(
        "--tracker-implementation",
        choices=("transformers", "native"),
        help="whose code runs sam2; native is Meta's package",
    )
    add("--tracker-dtype", choices=("float32", "bfloat16"), help="what sam2 computes in")
    add("--annotations", type=Path, metavar="DIR", help="frame 0's structures: DIR/<clip>.png")
    add(
        "--ceiling-codec", type=Path, metavar="DIR", help="GT through the model's VAE, as a ceiling"
    )
    add("--trajectories", type=Path, metavar="FILE", help="JSON, clip -> recording, for intervals")
    add("--json", type=Path, metavar="FILE", help="write the whole result here")
    add("--fail-under", type=float, metavar="X", help="exit status 1 if the score is below X")
    return parser


if __name__ == "__main__":
    sys.exit(main())
