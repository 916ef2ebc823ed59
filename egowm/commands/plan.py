"""`egowm plan`: the way to a picture, in unseen rooms or from a picture of your own.

The world model imagines what candidate actions lead to. In the rooms a robot then acts in the true
simulator; with --picture and --goal the plan is written for your robot. With --policy a policy
drives; with --model beside it, the policy proposes and the world model decides.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from egowm.commands.condition_options import add_conditions
from egowm.commands.device_option import add_device
from egowm.commands.launching import add_launch, chosen_launch
from egowm.commands.parser import Parser
from egowm.files import FolderKind, begins, check_folder

PLAN = FolderKind(
    "egowm plan",
    r"plan\.(json|mp4|webp)|actions\.csv|room_\d+\.(mp4|webp)",
    lambda folder: begins(folder / "plan.json", rb'(\[\s*)?\{\s*"(room|picture)": '),
)
PLANNERS = ("icem", "cem", "mppi", "random")
OF_ROOMS = (
    "simulator", "policy", "rooms", "every", "stops", "distance", "hidden", "max_steps", "cache",
    "shard", "launch",
)  # fmt: skip
OF_PLANNERS = (
    "planner", "candidates", "rounds", "horizon", "every", "stops", "by", "encoder", "base",
    "steps", "chain", "dtype",
)  # fmt: skip
OF_PICTURES = ("state", "text", "source")


def _parser() -> Parser:
    parser = Parser(
        prog="egowm plan",
        description=__doc__,
        example="egowm plan --output runs/plan --rooms 2 --distance 1\n"
        "egowm plan --picture now.jpg --goal there.jpg --model runs/my_robot/export "
        "--output runs/plan",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--model", help="an export (default: the rooms model that came along)")
    parser.add_argument("--base", help="folder of the base pipeline, if it moved")
    parser.add_argument("--picture", metavar="PICTURE", help="what your robot sees now")
    parser.add_argument("--goal", metavar="PICTURE", help="what it is to see in the end")
    parser.add_argument("--simulator", action="store_true", help="plan with the true simulator")
    parser.add_argument(
        "--policy",
        metavar="EXPORT",
        help="a policy's export: it drives, or proposes where --model is given too",
    )
    parser.add_argument("--rooms", type=int, default=1, help="how many unseen rooms (default 1)")
    parser.add_argument(
        "--planner", choices=PLANNERS, default="icem", help="search method (default icem)"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=32,
        help="action sequences in the first round (default 32)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the planner (default 3)")
    parser.add_argument("--horizon", type=int, default=8, help="actions planned ahead (default 8)")
    parser.add_argument(
        "--every", type=int, default=4, help="actions before it plans again (default 4)"
    )
    parser.add_argument(
        "--stops",
        action="store_true",
        help="the robot may stop on its way: every imagined frame is compared with the goal",
    )
    parser.add_argument(
        "--distance", type=float, default=2.0, help="metres to the goal (default 2)"
    )
    parser.add_argument("--hidden", action="store_true", help="the goal lies outside the view")
    parser.add_argument(
        "--max_steps", type=int, help="actions of an episode (default: twice the straight way)"
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: the export's)")
    parser.add_argument(
        "--chain",
        choices=("latents", "latents_only", "pixels"),
        help="how a chunk starts from the one before (default: as the model's rollouts)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of denoising and decoding (default float32)",
    )
    parser.add_argument(
        "--by",
        choices=("pixels", "latents"),
        default="pixels",
        help="what the cost compares with the goal (default pixels)",
    )
    parser.add_argument(
        "--encoder",
        metavar="FOLDER",
        help="compares the patches of this image encoder in place of --by",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(64, 64),
        help="pixels of the pictures (default 64 64)",
    )
    add_conditions(parser)
    add_device(parser, "that imagines, or drives")
    parser.add_argument(
        "--cache", metavar="DIR", type=Path, help="keep each room here: none is gone through twice"
    )
    add_launch(parser, "only fill --cache with the I-th of N parts of the rooms")
    parser.add_argument("--seed", type=int, default=0, help="of rooms, goals and noise (default 0)")
    parser.add_argument("--force", action="store_true", help="replace plans that are there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Plans in each room, or from --picture to --goal; writes plan.json and a film of each."""
    parser = _parser()
    args = parser.parse_args(argv)
    launch = chosen_launch(args)
    _refuse_mixtures(args, parser)
    _check_shares(args)
    if args.shard is None:
        check_folder(args.output, PLAN, args.force)
    if args.picture is not None:
        from egowm.video import read_image

        for picture in (args.picture, args.goal):  # told before torch is loaded
            read_image(picture)
    from egowm.commands.work.plan import run

    return run(args, PLAN, launch)


def _refuse_mixtures(args: argparse.Namespace, parser: Parser) -> None:
    """Refuse options of the rooms beside pictures, and the other way round."""
    pictures = args.picture is not None or args.goal is not None
    others = OF_ROOMS if pictures else OF_PICTURES
    wrong = [f"--{name}" for name in others if getattr(args, name) != parser.get_default(name)]
    if wrong:
        means = "with --picture and --goal" if pictures else "in the rooms, without --picture"
        raise ValueError(f"{', '.join(wrong)}: not {means}.")
    if min(args.rooms, args.candidates, args.rounds) < 1:
        raise ValueError("Expected --rooms, --candidates and --rounds of at least 1.")
    if pictures and (args.picture is None or args.goal is None):
        raise ValueError("A plan of your own takes both --picture and --goal.")
    if args.encoder and args.by != parser.get_default("by"):
        raise ValueError("Expected --by or --encoder, got both: leave one out.")
    if not 0.5 < args.distance <= 6:
        raise ValueError(f"Expected a --distance above 0.5 m, at most 6, got {args.distance:g}.")
    _refuse_beside_policy(args, parser)
    imagines = {"--model": args.model, "--steps": args.steps, "--chain": args.chain}
    given = [name for name, value in (imagines | {"--dtype": args.dtype}).items() if value]
    if args.simulator and given:
        raise ValueError(f"--simulator takes no world model: leave {', '.join(given)} out.")


def _check_shares(args: argparse.Namespace) -> None:
    """Refuse rooms that cannot be shared out."""
    if args.cache is None:
        if args.shard is not None or args.launch:
            raise ValueError("--shard and --launch fill a cache: give --cache DIR.")
        return
    if args.policy and args.model:
        raise ValueError(
            "--cache: a policy that proposes draws from one generator for all rooms, so no room "
            "stands alone: leave --cache or --policy out."
        )


def _refuse_beside_policy(args: argparse.Namespace, parser: Parser) -> None:
    """Refuse options that a policy which drives alone would not heed."""
    if args.policy and args.simulator:
        raise ValueError("Expected --policy or --simulator, got both: leave one out.")
    if not args.policy or args.model:
        return
    told = [x for x in OF_PLANNERS if getattr(args, x) != parser.get_default(x)]
    if told:
        options = ", ".join(f"--{name}" for name in told)
        raise ValueError(
            f"{options}: a policy alone plans nothing; leave that out, or give a --model that "
            f"decides among what it proposes."
        )
