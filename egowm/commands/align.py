"""`egowm align`: how far two encoders that were trained apart look at the same patches (CAS).

Both see the same pairs of test frames. For each patch of one frame the k patches of the other at
which a model looks most are compared. Printed as the maps are (raw), without what a model looks at
in every pair (centred), and without what all patches of a frame look at (by target), beside a model
that looks at its own place, two untrained ones and chance.
"""

from collections.abc import Sequence
from pathlib import Path

from egowm.commands.device_option import add_device
from egowm.commands.parser import Parser, recipe_file
from egowm.files import FileKind, check_file

ALIGNMENT = FileKind("an alignment of `egowm align`", rb'\{\s*"a": ')


def _parser() -> Parser:
    parser = Parser(
        prog="egowm align",
        description=__doc__,
        example="egowm align runs/life_a runs/life_b -c recipes/rooms_single_life.yaml",
    )
    add = parser.add_argument
    add("a", type=Path, metavar="A", help="export of a SingleLife")
    add("b", type=Path, metavar="B", help="the other, for frames and patches of the same size")
    add("-c", "--config", required=True, type=recipe_file, help="recipe with the data")
    add("--data.root", dest="root", help="replaces the recipe's data root")
    add(
        "--pairs",
        default="temporal",
        help="temporal, spatial, random, augmented, or several joined by + (default temporal)",
    )
    add("--gap", type=int, default=4, help="most frames between a temporal pair (default 4)")
    add("--clips", type=int, default=64, help="test clips, at most (default 64)")
    add("--k", type=int, default=5, help="patches that are compared (default 5)")
    add("--seed", type=int, default=0, help="of the pairs and the untrained models (default 0)")
    add("--output", type=Path, metavar="FILE.json", help="write the result here, too")
    add_device(parser, "of the models")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm align A B -c RECIPE`."""
    args = _parser().parse_args(argv)
    if min(args.clips, args.k, args.gap) < 1 or args.seed < 0:
        raise ValueError(
            f"Expected --clips, --k and --gap of at least 1 and a --seed of 0 or more, got "
            f"{args.clips}, {args.k}, {args.gap} and {args.seed}."
        )
    if args.output is not None:
        check_file(args.output, ALIGNMENT)
    from egowm.commands.work.align import run

    return run(args)
