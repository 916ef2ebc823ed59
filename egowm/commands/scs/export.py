"""Write masks as a tree that the official DAVIS 2017 evaluation reads, so that anyone can verify.

PRED and GT hold masks (`egowm-scs track` writes them; palette PNG, npz, SA-V and COCO json do too),
frame 0 included. In DIR, Annotations, ImageSets and JPEGImages are the data set, results/ are the
predictions:

  python evaluation_method.py --task semi-supervised --davis_path DIR --results_path DIR/results

Its J-Mean is the mean of `scs_davis` over all objects. It is not the headline `scs`: DAVIS counts
frames in which both masks are empty as perfect, and averages over objects, not over clips.
"""

import argparse
from pathlib import Path

from egowm.checks import counted
from egowm.commands.parser import Parser

EPILOG = """example:
  egowm-scs export tracks/pred tracks/gt --davis davis/
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    parser.add_argument("pred", type=Path, metavar="PRED", help="masks of the predictions")
    parser.add_argument("gt", type=Path, metavar="GT", help="masks of the truth")
    parser.add_argument("--davis", type=Path, metavar="DIR", required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace a tree that is there")


def run(arguments: argparse.Namespace) -> int:
    """Export, and say how much."""
    from egowm.files import check_folder
    from egowm.scs.write_masks import DAVIS, export_davis

    check_folder(arguments.davis, DAVIS, arguments.force)
    count = export_davis(arguments.pred, arguments.gt, arguments.davis)
    print(f"{counted(count, 'clip is', 'clips are')} in {arguments.davis}")
    return 0
