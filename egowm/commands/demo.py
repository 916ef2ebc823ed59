"""`egowm demo`: train, roll out, score and look, in a few minutes on a CPU.

Shows two models on rooms neither has seen: the shipped world model, and one that is trained on
the spot for a few minutes from the same prior; and what the shipped one imagines when it is
given the actions of another clip. With `--real`, the same on real driving video. It ends on one
sentence: whether the model follows its actions.
"""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.demo_folder import DEMO
from egowm.commands.parser import Parser
from egowm.files import check_folder


def _parser() -> Parser:
    parser = Parser(
        prog="egowm demo", description=__doc__, example="egowm demo --quick --output runs/demo"
    )
    parser.add_argument("--output", type=Path, help="folder to write (default runs/demo)")
    parser.add_argument("--quick", action="store_true", help="seconds of training, two clips")
    parser.add_argument("--real", metavar="TUB", help="folder of a Donkey Car tub")
    parser.add_argument("--force", action="store_true", help="replace a demo that is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm demo [--quick] [--real TUB] [--output DIR]`."""
    arguments = _parser().parse_args(argv)
    if arguments.output is None:
        arguments.output = Path("runs/real" if arguments.real else "runs/demo")
    check_folder(arguments.output, DEMO, arguments.force)
    from egowm.commands.work.demo import run

    return run(arguments)
