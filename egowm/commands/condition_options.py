"""The options of what a model is told besides a picture and actions."""

from egowm.commands.parser import Parser


def add_conditions(parser: Parser) -> None:
    """Add --text, --state and --source, see `WorldModel.rollout`."""
    parser.add_argument(
        "--text", default="", help="what is to be seen, for backbones that take text"
    )
    parser.add_argument(
        "--state", type=float, nargs="+", help="state of the body, for models that take one"
    )
    parser.add_argument(
        "--source", help="data set whose action ranges count, of a model fitted on several"
    )
