"""`egowm fit`, `validate`, `test` and `predict`: one command line of Lightning's, from a recipe."""

import sys
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

from egowm.commands.tables_first import check_recipe_tables
from egowm.files import check_folder
from egowm.limits import read_yaml_text
from egowm.shipped import existing_recipe


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm fit -c RECIPE ...` and its siblings."""
    words = recipes_first(sys.argv[1:] if argv is None else argv)
    refuse_without_recipe(words)
    check_tables(words)
    if words[:1] == ["predict"] and "--force" not in words:
        check_predictions(words)
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


def check_tables(words: Sequence[str]) -> None:
    """Refuse columns that no table has, where the data are those of the one recipe."""
    recipes, roots = _recipes(words), _values(words, "--data.root")
    others = [word for word in words if word.startswith("--data")]
    if len(recipes) == 1 and len(roots) == len(others) <= 1:
        check_recipe_tables(recipes[0], *roots)


def check_predictions(words: Sequence[str]) -> None:
    """Refuse a run that has predictions, as far as recipes and options name its folder."""
    from egowm.evaluation.run_folder import PREDICTIONS

    option = "--trainer.default_root_dir"
    folders = [*map(_run_of, _recipes(words)), *_values(words, option)]
    if folders and folders[-1]:
        check_folder(Path(folders[-1]) / "predictions", PREDICTIONS)


def _recipes(words: Sequence[str]) -> list[Path]:
    """The files of the recipes that a command line names."""
    named = [*_values(words, "-c"), *_values(words, "--config")]
    return [Path(name).expanduser() for name in named if name.endswith((".yaml", ".yml"))]


def _values(words: Sequence[str], option: str) -> list[str]:
    """What an option is given, as its next word or behind `=`."""
    pairs = list(pairwise([*words, ""]))
    return [
        after if word == option else word.removeprefix(f"{option}=")
        for word, after in pairs
        if word == option or word.startswith(f"{option}=")
    ]


def _run_of(recipe: Path) -> str:
    """The folder of a recipe's run; "" where it names none."""
    import yaml

    try:
        trainer = yaml.safe_load(read_yaml_text(recipe))["trainer"]
        return str(trainer.get("default_root_dir") or "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return ""  # which the parser of the recipe tells


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
