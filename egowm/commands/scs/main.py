"""`egowm-scs`: the Structural Consistency Score of generated videos against the real ones."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from egowm import __version__
from egowm.commands.main import BAD_INPUT, guarded, log_to_stderr
from egowm.commands.parser import Parser

COMMANDS = {
    "score": "score every clip of PRED against GT",
    "compare": "the paired difference between two scores of the same clips",
    "report": "one page that shows truth, prediction and masks side by side",
    "annotate": "write the structures of frame 0 to a folder, once for all models",
    "track": "write the masks of every frame",
    "export": "write masks as a DAVIS tree, for other people's tools",
    "convert-sam2": "SAM 2's weights from Meta's file format to transformers', or back",
    "doctor": "which trackers can run here, and why not",
    "demo": "the whole chain in the embedded rooms, in seconds",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 fine, 1 below --fail_under, 2 bad input."""
    return guarded("egowm-scs", lambda: run(argv))


def run(argv: Sequence[str] | None) -> int:
    """As `main`, and errors are raised: for a command that is a step of another."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return BAD_INPUT
    log_to_stderr()
    status: int = _module(arguments.command).run(arguments)
    return status


def _module(command: str) -> Any:
    return import_module(f"egowm.commands.scs.{command.replace('-', '_')}")


def _parser() -> Parser:
    parser = Parser(
        prog="egowm-scs",
        description=__doc__,
        example="egowm-scs score pred/ gt/ --annotations annotations/ --tracker palette",
    )
    parser.add_argument("--version", action="version", version=f"egowm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, about in COMMANDS.items():
        module = _module(name)
        command = commands.add_parser(
            name,
            help=about,
            description=module.__doc__,
            epilog=getattr(module, "EPILOG", None),
        )
        module.configure(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
