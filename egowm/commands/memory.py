"""`egowm memory`: what a recipe needs on a GPU, before any weight is loaded, and what fits."""

from collections.abc import Sequence

from egowm.commands.parser import Parser, recipe_file


def _parser() -> Parser:
    parser = Parser(
        prog="egowm memory",
        description=__doc__,
        example="egowm memory -c recipes/recon_svd.yaml --data.batch_size 2",
    )
    parser.add_argument("-c", "--config", required=True, type=recipe_file, help="a recipe")
    parser.add_argument(
        "--data.batch_size", dest="batch_size", type=int, help="clips a step; replaces the recipe's"
    )
    parser.add_argument(
        "--trainer.precision", dest="precision", help="as the trainer names it, e.g. bf16-mixed"
    )
    parser.add_argument(
        "--data.root", dest="root", help="recordings that say how many dimensions an action has"
    )
    parser.add_argument(
        "--model.backbone.pretrained",
        dest="pretrained",
        help="base; its configuration files are enough",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm memory -c RECIPE [--data.batch_size N] [--trainer.precision P]`."""
    arguments = _parser().parse_args(argv)
    from egowm.commands.work.memory import run

    return run(arguments)
