"""`egowm eval`: predict, measure and report in one go; compare two such runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from egowm.commands.device_option import add_device
from egowm.commands.launching import add_launch, chosen_launch
from egowm.commands.parser import Parser, recipe_file
from egowm.commands.tracker_options import add_options
from egowm.evaluation.protocol import Name
from egowm.evaluation.run_folder import RUN
from egowm.files import check_folder

REQUIRED = {"config": "-c RECIPE", "model": "--model EXPORT", "output": "--output RUN"}
IN_SHARDS = {name: flag for name, flag in REQUIRED.items() if name != "output"}
IN_SHARDS["cache"] = "--cache DIR"


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm eval -c RECIPE --model EXPORT --output RUN`, or `egowm eval --compare A B`.

    Returns 0, or 4 where `--gate` found a value worse than the baseline's.
    """
    args = _parser().parse_args(argv)
    launch = chosen_launch(args)
    required = REQUIRED if args.shard is None else IN_SHARDS
    missing = [flag for name, flag in required.items() if getattr(args, name) is None]
    if missing and args.compare is None:
        raise ValueError(f"Give {', '.join(missing)} (or --compare A/eval.json B/eval.json).")
    if args.compare is None and args.shard is None:
        check_folder(args.output, RUN, args.force)
    from egowm.commands.work.eval import run

    return run(args, launch)


def _parser() -> Parser:
    parser = Parser(
        prog="egowm eval",
        description=__doc__,
        example="egowm eval -c recipes/rooms_svd.yaml --model rooms --output runs/score\n"
        "egowm eval --compare runs/a/eval.json runs/b/eval.json",
    )
    add = parser.add_argument
    add("-c", "--config", metavar="RECIPE", type=recipe_file, help="recipe with the data")
    add("--model", metavar="EXPORT", help="an export's folder, rooms, or a cached OWNER/NAME")
    add("--output", metavar="RUN", type=Path, help="run folder to write")
    add(
        "--protocol",
        choices=get_args(Name),
        default="egowm",
        help="egowm: frames from one context, values over frames 1 to k; nwm-rollout: the same, "
        "values at 1, 2, 4, 8, 16 s; nwm-time: one jump to each frame (default egowm)",
    )
    add("--base", help="folder of the base pipeline, if it moved")
    add("--data.root", dest="root", help="replaces the recipe's data root")
    add("--context", metavar="K", type=int, help="context frames (default: the recipe's)")
    add("--annotations", help="folder of <clip>.png: structures drawn by hand")
    add_options(parser, "palette (rooms, the default), sam2 or flow (any video)", "palette")
    add("--weights", metavar="FOLDER", type=Path, help="weights of LPIPS, DreamSim, FID, FVD")
    add(
        "--encoder",
        metavar="FOLDER",
        type=Path,
        help="image encoder, for feature drift and attention",
    )
    add("--clips", type=int, default=16, help="test clips (default 16)")
    add("--horizon", type=int, help="future frames (default: 16, or all whole seconds)")
    add("--steps", type=int, help="sampling steps (default: the export's)")
    add("--seed", type=int, default=0, help="first seed of the noise (default 0)")
    add("--seeds", type=int, default=1, help="how many seeds, for mean and spread (default 1)")
    add(
        "--actions",
        help="rows, comma-separated: true, shuffled, zero, mirrored (default: all that are known)",
    )
    add_device(parser, "that rolls out")
    add(
        "--cache",
        metavar="DIR",
        type=Path,
        help="keep predictions and tracks: none is made twice",
    )
    add_launch(parser, "only fill --cache with the I-th of N parts of the clips")
    add("--gate", metavar="BASELINE", type=Path, help="an eval.json; exit status 4 if worse")
    add("--compare", nargs=2, metavar="EVAL_JSON", type=Path, help="compare two runs, no more")
    add("--force", action="store_true", help="replace a run that is there")
    return parser
