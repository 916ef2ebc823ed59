"""`egowm export`: a training checkpoint and its recipe become an export that planners load.

Of an image encoder it is a folder that transformers opens, too."""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.parser import Parser, recipe_file
from egowm.files import check_new


def _parser() -> Parser:
    parser = Parser(
        prog="egowm export",
        description=__doc__,
        example="egowm export -c my_robot.yaml --ckpt_path runs/my_robot/checkpoints/last.ckpt "
        "--output exports/my_robot",
    )
    parser.add_argument(
        "-c", "--config", required=True, type=recipe_file, help="the training's recipe"
    )
    parser.add_argument("--ckpt_path", required=True, type=Path, help="usually .../last.ckpt")
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument(
        "--model.backbone.pretrained",
        dest="pretrained",
        help="base of the training, where that was not the recipe's",
    )
    parser.add_argument(
        "--as",
        dest="layout",
        choices=("egowm", "diffusers"),
        default="egowm",
        help="diffusers: of a world model the whole pipeline, which diffusers opens without egowm "
        "(default egowm: what was trained, beside a base that lies elsewhere)",
    )
    parser.add_argument("--half", action="store_true", help="round the weights to float16")
    parser.add_argument(
        "--newest", action="store_true", help="the newest weights, also where an average was kept"
    )
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm export -c RECIPE --ckpt_path FILE --output FOLDER`."""
    arguments = _parser().parse_args(argv)
    check_new(arguments.output, "egowm export", arguments.force)
    from egowm.commands.work.export import run

    return run(arguments)
