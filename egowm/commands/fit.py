"""`egowm fit`, `validate`, `test` and `predict`: one command line of Lightning's, from a recipe."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from egowm.shipped import existing_recipe


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm fit -c RECIPE ...` and its siblings."""
    words = recipes_first(sys.argv[1:] if argv is None else argv)
    refuse_without_recipe(words)
    from egowm.commands.work.fit import build

    build(words)
    return 0


def refuse_without_recipe(argv: Sequence[str]) -> None:
    """Refuse a command line that names no recipe, or one that is missing, before torch is loaded.

    Help is given without one, and a model can be named by options alone.
    """
    named = list(recipe_names(argv))
    options = [word.partition("=")[0] for word in argv]
    alone = {"-h", "--help", "--model", "--model.help", "--data.help", "--print_config"}
    if not named and not alone & set(options):
        raise ValueError(
            f"{argv[0]}: give a recipe, -c recipes/NAME.yaml (`egowm recipes` lists them)."
        )
    for name in named:
        if name.endswith((".yaml", ".yml")):  # Lightning also takes a recipe's text
            existing_recipe(Path(name))


def recipe_names(argv: Sequence[str]) -> Iterator[str]:
    """What follows `-c` and `--config`."""
    words = iter(argv[1:])
    for word in words:
        if word in ("-c", "--config"):
            yield from islice(words, 1)
        elif word.startswith("--config="):
            yield word.partition("=")[2]


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
