"""Score every clip of PRED against GT.

A clip is a folder of pictures (in natural order: f_10 after f_9) or a video file, of the same name,
frames and size in both; frame 0 is the shared one and is not scored. Clips or frames that are
missing, extra or of another size are listed in one error, and nothing is scored.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egowm.checks import counted
from egowm.commands.launching import (
    Launch,
    add_launch,
    chosen_launch,
    logs_beside,
    run_workers,
)
from egowm.commands.main import FELL
from egowm.commands.parser import Parser
from egowm.commands.tracker_options import add_options, check_named, chosen_tracker
from egowm.files import FileKind, check_file, check_folder
from egowm.limits import load_json

if TYPE_CHECKING:
    from egowm.scs.gate import Gate
    from egowm.scs.inputs import Inputs
    from egowm.scs.result import Result
    from egowm.scs.trackers import MaskReader, Tracker

NOT_SCORED = BELOW = 1
RESULT = FileKind("a result of `egowm-scs score --json`", rb'\{\s*"scs": ')
TABLE = FileKind("a table of `egowm-scs score --csv`", b"clip,trajectory,sample,object,frame,")

EPILOG = """example:
  egowm-scs score pred/ gt/ --tracker sam2 --tracker_weights sam2.1_hiera_tiny.pt \\
      --annotations annotations/ --json scs.json --report scs.html

trackers:
  sam2      the reference, for any video; needs --tracker_weights
  palette   simulated rooms: reads each structure's own hue from every frame
  flow      any video, by optical flow; blind to structures that vanish: for a first look
  moog      any video, by the tokens of a trained MooG; needs --tracker_weights, its folder
  masks     PRED and GT hold masks, frame 0 included, not frames: palette PNG, npz, SA-V, COCO json
  copy      repeats the first mask: a check of folders, not a score
  oracle    the simulator's own exact masks, in <clip>/masks/
or package.module.Class, a tracker of your own. `egowm-scs doctor` says which can run here.

layouts of PRED and GT:
  <clip>/00000.png ... or <clip>.mp4, at any depth, frame 0 first
  PRED/<clip>/<sample>/00000.png ...: several predictions of a clip, averaged inside the clip
  <traj>/<start>_<end>/{GT,pred}/frames/f_1.png ... with f_<start>.png beside GT and pred: give the
      same folder twice; intervals then draw whole <traj>
  id_<n>/0.png ... without frame 0: give --first DIR

Exit status: 0 scored, 1 below --fail_under or no structure is left to score, 2 bad input, 4 worse
than the baseline of --gate.
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    add_inputs(parser)
    add = parser.add_argument
    add("--ceiling_tracker", action="store_true", help="also track GT anew from its middle frame")
    add("--reanchor", type=Path, metavar="DIR", help="structures of later frames, <clip>/00004.png")
    add("--trajectories", type=Path, metavar="FILE", help="JSON, clip -> recording, for intervals")
    add("--json", type=Path, metavar="FILE", help="write the whole result here")
    add("--csv", type=Path, metavar="FILE", help="write IoU per clip, object and frame here")
    add("--report", type=Path, metavar="FILE", help="write a page to look at (HTML) here")
    add_launch(parser, "only fill --cache with the I-th of N parts of the clips")
    add("--fail_under", type=float, metavar="X", help="exit status 1 if the score is below X")
    add("--gate", type=Path, metavar="BASELINE", help="a scs.json; exit status 4 if worse")


def add_inputs(parser: Parser) -> None:
    """What `score` and `report` read."""
    add = parser.add_argument
    add("pred", type=Path, metavar="PRED", help="generated clips")
    add("gt", type=Path, metavar="GT", help="real clips")
    add_options(parser, "required: sam2, palette, flow, moog, masks, copy, oracle, or a class")
    add(
        "--annotations",
        type=Path,
        metavar="DIR",
        help="frame 0's structures: DIR/<clip>.png, .npz or .json (`egowm-scs annotate`)",
    )
    add("--first", type=Path, metavar="DIR", help="frames 0, DIR/<clip>.png, if GT has none")
    add(
        "--ceiling_codec", type=Path, metavar="DIR", help="GT through the model's VAE, as a ceiling"
    )
    add("--cache", type=Path, metavar="DIR", help="keep tracks here: nothing is tracked twice")


def run(arguments: argparse.Namespace) -> int:
    """Score, write what was asked for, print the table."""
    launch = chosen_launch(arguments)
    check_named(arguments)
    check_cache(arguments.cache)
    if arguments.fail_under is not None and math.isnan(arguments.fail_under):
        raise ValueError("Expected a number as --fail_under, got nan.")
    if arguments.shard is not None:
        return _shard(arguments)
    from egowm.evaluation.run_folder import PAGE

    for name, kind in (("json", RESULT), ("csv", TABLE), ("report", PAGE)):
        check_output(getattr(arguments, name), kind, f"--{name}")
    options = given(arguments)
    gate = _gate(arguments, options["tracker"])
    if launch is not None:
        _launch(arguments, launch, options["tracker"])
    from egowm.scs.evaluate import score_folders
    from egowm.scs.result import write_whole
    from egowm.scs.text import format_csv, format_result, why_no_score

    result = score_folders(
        arguments.pred,
        arguments.gt,
        arguments.annotations,
        ceiling_tracker=arguments.ceiling_tracker,
        reanchor=arguments.reanchor,
        trajectories=read_trajectories(arguments.trajectories),
        progress=True,
        **options,
    )
    try:
        if arguments.json is not None:
            result.save(arguments.json)
        if arguments.csv is not None:
            write_whole(arguments.csv, format_csv(result.clips))
        if arguments.report is not None and result.scs == result.scs:
            _report(arguments, result, options)
    finally:  # hours of tracking are not lost to a disk that became full meanwhile
        if result.scs == result.scs:
            print(format_result(result))
    if result.scs != result.scs:
        print(f"egowm-scs: no score: {why_no_score(result)}", file=sys.stderr)
        return NOT_SCORED
    limit = arguments.fail_under
    if limit is not None and not result.scs >= limit:
        print(f"egowm-scs: score {result.scs:.1f} is below {limit:g}", file=sys.stderr)
        return BELOW
    said, fell = ("", False) if gate is None else gate.hold(result)
    print(said, end="\n" if said else "")
    return FELL if fell else 0


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_inputs` by name, with the tracker loaded."""
    names = ("ceiling_codec", "first", "cache")
    found = {name: getattr(arguments, name) for name in names}
    return {"tracker": chosen_tracker(arguments), **found}


def check_output(path: Path | None, kind: FileKind, option: str) -> None:
    """Refuse a file that cannot or must not be written, before any work."""
    if path is None:
        return
    check_file(path, kind)
    if not path.parent.is_dir():
        raise ValueError(f"{option}: the folder {path.parent} does not exist.")


def check_cache(folder: Path | None) -> None:
    """Refuse a folder that holds anything but tracks, before any work."""
    if folder is not None:
        from egowm.scs.cache import TRACKS

        check_folder(folder, TRACKS, force=True)


def read_trajectories(path: Path | None) -> dict[str, str] | None:
    """The file of --trajectories."""
    if path is None:
        return None
    found = load_json(path, "clips and their recordings")
    if not isinstance(found, dict):
        raise ValueError(f'{path}: expected {{"clip": "trajectory", ...}}, got {type(found)}.')
    return {str(clip): str(trajectory) for clip, trajectory in found.items()}


def _shard(arguments: argparse.Namespace) -> int:
    """Track one part of the clips."""
    written = [n for n in ("json", "csv", "report", "gate") if getattr(arguments, n) is not None]
    launched = arguments.launch is not None  # the command line of the whole, which writes them
    if arguments.cache is None or (written and not launched):
        raise ValueError(
            "--shard only fills a cache: give --cache DIR, and no --json, --csv, --report or "
            "--gate. Score without --shard when all parts are there."
        )
    from egowm.scs.evaluate import track_shard

    count = track_shard(
        arguments.shard,
        arguments.pred,
        arguments.gt,
        arguments.annotations,
        ceiling_tracker=arguments.ceiling_tracker,
        reanchor=arguments.reanchor,
        progress=True,
        **given(arguments),
    )
    clips = counted(count, "clip is", "clips are")
    print(f"shard {arguments.shard}: {clips} tracked in {arguments.cache}")
    return 0


def _gate(arguments: argparse.Namespace, tracker: "Tracker | MaskReader") -> "Gate | None":
    """The baseline of --gate, checked before anything is tracked."""
    if arguments.gate is None:
        return None
    if arguments.json is not None and arguments.json.resolve() == arguments.gate.resolve():
        raise ValueError(
            "Expected --json and --gate of two files: a score must not replace its own baseline."
        )
    from egowm.scs.gate import Gate

    gate = Gate(arguments.gate)
    gate.check(tracker, _inputs(arguments, tracker))
    return gate


def _inputs(arguments: argparse.Namespace, tracker: "Tracker | MaskReader") -> "Inputs":
    """All clips, found and checked as the scoring does it."""
    from egowm.scs.inputs import gather, prepare

    prepare(tracker, arguments.annotations)
    folders = (arguments.pred, arguments.gt, arguments.ceiling_codec, arguments.annotations)
    known = read_trajectories(arguments.trajectories)
    inputs = gather(tracker, *folders, known, arguments.first)
    return inputs.with_anchors(tracker, arguments.reanchor)


def _launch(arguments: argparse.Namespace, launch: Launch, tracker: "Tracker | MaskReader") -> None:
    """Have all clips tracked by workers."""
    from egowm.scs.trackers import Tracker

    if not isinstance(tracker, Tracker):
        raise ValueError(f"--launch: {tracker.name!r} reads masks from disk: nothing to share out.")
    _inputs(arguments, tracker)
    run_workers(launch, ["egowm.commands.scs.main"], arguments.words, logs_beside(arguments.cache))


def _report(arguments: argparse.Namespace, result: "Result", options: dict[str, Any]) -> None:
    from egowm.evaluation.report.scs_page import write_page

    write_page(
        result.record(),
        arguments.report,
        arguments.pred,
        arguments.gt,
        arguments.annotations,
        **options,
    )
