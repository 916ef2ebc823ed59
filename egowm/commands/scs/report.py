"""One page that opens from disk without internet: truth and prediction under their masks.

Takes what `score --json` wrote, and the folders and options that were given there: the clips on the
page are tracked again (from --cache, where that was given).
"""

import argparse
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.commands.scs.score import add_inputs, check_cache, check_output, given
from egowm.commands.tracker_options import check_named

EPILOG = """example:
  egowm-scs report pred/ gt/ --annotations annotations/ --tracker palette \\
      --scores scs.json --output scs.html
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    add_inputs(parser)
    add = parser.add_argument
    add("--scores", type=Path, metavar="FILE", required=True, help="what `score --json` wrote")
    add("--output", type=Path, metavar="FILE", required=True, help="the page to write (HTML)")
    add("--each", type=int, metavar="N", default=6, help="N worst, N best, N by chance (default 6)")
    add("--fps", type=float, metavar="R", default=4.0, help="frames per second (default 4)")


def run(arguments: argparse.Namespace) -> int:
    """Write the page, and say where."""
    from egowm.evaluation.run_folder import PAGE

    check_named(arguments)
    check_output(arguments.output, PAGE, "--output")
    check_cache(arguments.cache)
    if arguments.each < 1 or not arguments.fps > 0:
        raise ValueError("Expected --each of at least 1 and --fps above 0.")
    from egowm.evaluation.report.scs_page import write_page
    from egowm.scs.result import Result

    write_page(
        Result.load(arguments.scores),
        arguments.output,
        arguments.pred,
        arguments.gt,
        arguments.annotations,
        each=arguments.each,
        fps=arguments.fps,
        **given(arguments),
    )
    print(arguments.output)
    return 0
