"""`egowm import-egowm`: the checkpoint that EgoWM's authors released becomes an export."""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.files import check_new


def _parser() -> Parser:
    parser = Parser(
        prog="egowm import-egowm",
        description=__doc__,
        example="egowm import-egowm svd_3dof_nav.pth --base models/svd --output exports/recon",
    )
    parser.add_argument("checkpoint", type=Path, help="e.g. svd_3dof_nav.pth")
    parser.add_argument("--base", required=True, help="SVD's folder, or its id in the hub cache")
    parser.add_argument(
        "--actions",
        help="recon (default), scand or tartandrive, which have 3 dimensions and published ranges, "
        'or FILE.json: an ActionSpec, or {"action": ..., "state": ...}',
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    parser.add_argument("--half", action="store_true", help="round the weights to float16")
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm import-egowm CHECKPOINT --base FOLDER_OR_ID --actions NAME --output FOLDER`."""
    arguments = _parser().parse_args(argv)
    check_new(arguments.output, "egowm import-egowm", arguments.force)
    from egowm.commands.work.import_egowm import run

    return run(arguments)
