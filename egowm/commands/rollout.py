"""`egowm rollout PICTURE --actions ...`: a video from any picture and any action sequence.

This is how one walks into a painting.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from egowm.actions.keys import KEYS, check_told
from egowm.commands.condition_options import add_conditions
from egowm.commands.device_option import add_device
from egowm.commands.parser import Parser
from egowm.conditioning.guidance import Guide
from egowm.files import FolderKind, check_folder

WALK = FolderKind("egowm rollout", r"frames(_\d+)?/\d{5}\.png|rollout\.(mp4|webp)")
MOST = 12  # action sequences in one film


def _parser() -> Parser:
    parser = Parser(
        prog="egowm rollout",
        description=__doc__,
        example="egowm rollout painting.jpg --actions wwwaaw --output runs/walk",
    )
    parser.add_argument("picture", help="any picture; it is resized, aspect not kept")
    parser.add_argument(
        "--actions",
        required=True,
        nargs="+",
        help=f"a file, or keys: {KEYS}; several are shown side by side",
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument(
        "--to",
        choices=("pictures", "lerobot"),
        default="pictures",
        help="pictures and a film (default), or a LeRobot data set, an episode for each sequence, "
        "whose frames are marked as recorded or imagined",
    )
    parser.add_argument("--model", help="an export (default: the rooms model that came along)")
    parser.add_argument("--base", help="folder of the base pipeline, if it moved")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=(64, 64),
        help="pixels that the picture is resized to (default 64 64)",
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: the export's)")
    parser.add_argument(
        "--guidance", type=float, default=1.0, help="strength of guidance; 1, the default, is off"
    )
    parser.add_argument(
        "--guide_on",
        nargs="+",
        choices=get_args(Guide),
        help="what guidance is on (default: the backbone's first choice)",
    )
    add_conditions(parser)
    add_device(parser, "that imagines")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    parser.add_argument("--force", action="store_true", help="replace a rollout that is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm rollout PICTURE --actions FILE|KEYS --output DIR`."""
    arguments = _parser().parse_args(argv)
    if len(arguments.actions) > MOST:
        found = len(arguments.actions)
        raise ValueError(f"Expected at most {MOST} sequences of actions, got {found}.")
    for text in arguments.actions:
        check_told(text)
    kind = WALK
    if arguments.to == "lerobot":
        from egowm.data.lerobot_writer import WRITTEN

        kind = WRITTEN._replace(forced="--force")
    check_folder(arguments.output, kind, arguments.force)
    from egowm.video import read_image

    read_image(arguments.picture)  # a file that is no picture is told before torch is loaded
    from egowm.commands.work.rollout import run

    return run(arguments, WALK)
