"""`egowm push`: an export becomes a repository of the Hugging Face hub, with a model card.

One commit adds its files; other files of the repository stay. Log in before: hf auth login."""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.parser import Parser


def _parser() -> Parser:
    parser = Parser(
        prog="egowm push",
        description=__doc__,
        example="egowm push exports/my_robot OWNER/my_robot --evaluation runs/score "
        "--licence apache-2.0",
    )
    parser.add_argument("export", type=Path, help="a folder that `egowm export` wrote")
    parser.add_argument("repository", metavar="OWNER/NAME", help="made where it is missing")
    parser.add_argument(
        "--base", help="id of the base on the hub, where the export names a folder of this machine"
    )
    parser.add_argument("--licence", help="for the card, by the hub's name for it: apache-2.0")
    parser.add_argument(
        "--evaluation", type=Path, metavar="RUN", help="run of `egowm eval`, for the card"
    )
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    parser.add_argument("--message", help="of the commit")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm push EXPORT OWNER/NAME`."""
    args = _parser().parse_args(argv)
    from egowm.publish import MESSAGE, publish

    commit = publish(
        args.export,
        args.repository,
        args.base,
        args.licence,
        args.evaluation,
        args.private or None,
        args.message or MESSAGE,
    )
    print(f"{args.repository}: {args.export} in commit {commit}")
    print(f'load it: from_pretrained("{args.repository}", revision="{commit}", download=True)')
    return 0
