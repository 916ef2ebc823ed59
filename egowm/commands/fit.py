"""`egowm fit`, `validate`, `test` and `predict`: one command line of Lightning's, from a recipe."""

import sys
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from egowm.commands.tables_first import check_fitted_tables
from egowm.shipped import existing_recipe


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm fit -c RECIPE ...` and its siblings."""
    words = recipes_first(sys.argv[1:] if argv is None else argv)
    refuse_without_recipe(words)
    check_fitted_tables(words)
    from egowm.commands.work.fit import build

    build(words)
    return 0


def refuse_without_recipe(argv: Sequence[str]) -> None:
    """Refuse a command line that names no recipe, or one that is missing, before torch is loaded.

    Help is given without one, and a model can be named by options alone.
    """
    options = [word.partition("=")[0] for word in argv[1:]]
    alone = ("-h", "--help", "--model", "--print_config", "-c", "--con")
    if not any(word.startswith(alone) or word.endswith(".help") for word in options):
        raise ValueError(
            f"{argv[0]}: give a recipe, -c recipes/NAME.yaml (`egowm recipes` lists them)."
        )
    for word, name in pairwise(argv):
        if word in ("-c", "--config") and name.endswith((".yaml", ".yml")):  # or a recipe's text
            existing_recipe(Path(name).expanduser())


def recipes_first(argv: Sequence[str]) -> list[str]:
    """The command line with its recipes right after the subcommand.

    Options are taken in their order, and a recipe that came after them would undo them.
    """
    recipes, others, words = [], [], iter(argv)
    for word in words:
        if word in ("-c", "--config"):
            recipes += [word, *islice(words, 1)]
        elif word.startswith("--config="):
            recipes.append(word)
        else:
            others.append(word)
    return [*others[:1], *recipes, *others[1:]]
