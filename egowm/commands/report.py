"""`egowm report RUN`: one HTML page, complete in itself, that shows what a model predicted."""

import sys
from collections.abc import Sequence
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.evaluation.run_folder import check_page, read_run


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of `egowm report`; returns 0, or 2 for bad input."""
    parser = Parser(
        prog="egowm report",
        description="Write one page that shows what a model predicted; runs inside RUN come below.",
        example="egowm report runs/rooms/predictions --max_clips 8",
    )
    parser.add_argument("run", type=Path, help="folder that `egowm eval` or `egowm predict` wrote")
    parser.add_argument("--output", type=Path, help="where to write (default: RUN/report.html)")
    parser.add_argument(
        "--max_clips",
        type=int,
        default=24,
        help="clips on the page, from the lowest score to the highest (default: 24)",
    )
    parser.add_argument("--no_videos", action="store_true", help="write no RUN/videos/*.mp4")
    args = parser.parse_args(argv)
    try:
        check_page(args.run, args.output, args.max_clips, not args.no_videos)
        read_run(args.run)  # what is no run is told before torch is loaded
        from egowm.evaluation.report.run_page import write_report

        path = write_report(args.run, args.output, args.max_clips, videos=not args.no_videos)
    except (ValueError, OSError) as error:
        print(f"egowm report: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0
