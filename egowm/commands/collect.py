"""`egowm collect`: a robot drives in one embedded room and writes what it lives through.

It is to drive to a fixed place of the room, as a real robot would: nothing sets it back. It drives
with the newest policy that a training has written, by random actions until there is one, and adds
its episodes to a replay buffer, from which that training learns meanwhile.
"""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.parser import Parser

MOST_GAIN = 100.0  # of the light


def _parser() -> Parser:
    parser = Parser(
        prog="egowm collect",
        description=__doc__,
        example="egowm collect --output runs/dreamer/replay --policy runs/dreamer/policy\n"
        "egowm collect --output runs/replay --rate 0 --steps 2000",
    )
    parser.add_argument(
        "--output", required=True, type=Path, help="folder of the replay buffer; one is continued"
    )
    parser.add_argument("--policy", type=Path, help="export to drive with, as soon as it is there")
    parser.add_argument(
        "--steps",
        type=int,
        default=14400,
        help="drive until the buffer holds so many (default 14400)",
    )
    parser.add_argument(
        "--rate", type=float, default=4.0, help="steps a second; 0 does not wait (default 4)"
    )
    parser.add_argument("--room", type=int, default=0, help="which of the test rooms (default 0)")
    parser.add_argument(
        "--goal",
        type=float,
        nargs=3,
        metavar=("X", "Y", "YAW"),
        help="metres, radians (default: drawn)",
    )
    parser.add_argument(
        "--fence", type=float, default=3.0, help="metres from the goal, at most (default 3)"
    )
    parser.add_argument(
        "--turn", type=float, default=15.0, help="degrees that it turns in a step (default 15)"
    )
    parser.add_argument(
        "--size", type=int, default=32, help="pixels of the square frames (default 32)"
    )
    parser.add_argument(
        "--attempt", type=int, default=40, help="steps to reach the goal, at most (default 40)"
    )
    parser.add_argument(
        "--away", type=int, default=24, help="random steps after each attempt (default 24)"
    )
    parser.add_argument(
        "--exposure", type=float, default=1.0, metavar="GAIN", help="of the light (default 1)"
    )
    parser.add_argument(
        "--exposure_after",
        type=int,
        default=0,
        metavar="STEPS",
        help="steps of the buffer after which that light shines (default 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random actions (default 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Drives until the buffer holds --steps; prints how often the robot arrived."""
    args = _parser().parse_args(argv)
    if args.steps < 1 or not 0 <= args.rate <= 1000:
        raise ValueError(
            f"Expected --steps of at least 1 and a --rate from 0 to 1000, got {args.steps} and "
            f"{args.rate:g}."
        )
    if not 0 < args.exposure <= MOST_GAIN or args.exposure_after < 0 or args.seed < 0:
        raise ValueError(
            f"Expected an --exposure above 0, at most {MOST_GAIN:g}, and --exposure_after and "
            f"--seed of 0 or more, got {args.exposure:g}, {args.exposure_after} and {args.seed}."
        )
    from egowm.commands.work.collect import run

    return run(args)
