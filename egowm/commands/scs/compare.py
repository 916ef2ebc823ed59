"""The paired difference between two scores of the same clips, B minus A.

Whole trajectories are drawn where the files name them. With --a_runs and --b_runs it is the
difference between two methods: A and B are then one training run of each, and runs as well as clips
are drawn for the interval. Scores under different protocols (another tracker, other annotations,
clips or sizes) are refused; another environment is only a warning.
"""

import argparse
import json
import logging
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.files import FileKind, check_file

COMPARISON = FileKind("a comparison of `egowm-scs compare --json`", rb'\{\s*"rows": \[')
logger = logging.getLogger(__name__)

EPILOG = """example:
  egowm-scs compare a.json b.json --a_runs a1.json a2.json --b_runs b1.json b2.json

Exit status: 0 compared, 2 the files do not compare.
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("a", type=Path, metavar="A.json", help="what `score --json` wrote")
    parser.add_argument("b", type=Path, metavar="B.json", help="the same clips, another model")
    more = "further training runs of the same method, at least 2"
    parser.add_argument("--a_runs", type=Path, metavar="JSON", nargs="+", default=[], help=more)
    parser.add_argument("--b_runs", type=Path, metavar="JSON", nargs="+", default=[], help=more)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the difference here")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print."""
    from egowm.scs.compare import compare_runs, format_comparison
    from egowm.scs.result import write_whole

    if arguments.json is not None:
        check_file(arguments.json, COMPARISON)
    found = compare_runs([arguments.a, *arguments.a_runs], [arguments.b, *arguments.b_runs])
    for line in found.warnings:
        logger.warning("the environments differ: %s", line)
    print(format_comparison(found))  # first: it is not lost to a full disk
    if arguments.json is not None:
        rows = [{k: None if v != v else v for k, v in row._asdict().items()} for row in found.rows]
        write_whole(arguments.json, json.dumps(found._asdict() | {"rows": rows}, indent=1) + "\n")
    return 0
