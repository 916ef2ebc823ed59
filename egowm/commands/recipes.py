"""Where the recipes and priors lie, and `egowm recipes`, which lists and copies them."""

import argparse
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from egowm.shipped import recipes, share_folder

NAMED_PRIOR = re.compile(r"\./priors/([\w.-]*\w)")


def header(recipe: Path) -> list[str]:
    """A recipe's opening comment: what it is set up after, what it costs, what it gave."""
    lines = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return lines[:3]


def copy(names: Sequence[str], destination: Path, force: bool = False) -> list[Path]:
    """Copies recipes to `destination/recipes` and the priors they name to `destination/priors`.

    The layout is the repository's, so `lightning fit -c recipes/NAME.yaml` works in `destination`.

    Returns:
        What was written, recipes first.

    Raises:
        FileExistsError: something is there already and `force` is off; then nothing is written.
    """
    available = recipes()
    sources = [available[name] for name in names]
    sources += [share_folder("priors") / name for name in named_priors(sources)]
    targets = [destination / source.parent.name / source.name for source in sources]
    taken = [str(target) for target in targets if target.exists()]
    if taken and not force:
        raise FileExistsError(f"{', '.join(taken)}: already there; --force overwrites")
    for source, target in zip(sources, targets, strict=True):
        _copy_whole(source, target)
    return targets


def named_priors(paths: Sequence[Path]) -> list[str]:
    """Names of the shipped priors to which these recipes point as `./priors/NAME`."""
    found = {name for path in paths for name in NAMED_PRIOR.findall(path.read_text("utf-8"))}
    return sorted(name for name in found if (share_folder("priors") / name).is_dir())


def _copy_whole(source: Path, target: Path) -> None:
    """Copies under a temporary name, then renames: an interrupted copy leaves no half prior."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if source.is_dir():
            shutil.copytree(source, temporary, ignore=shutil.ignore_patterns("__pycache__"))
            if target.exists():
                shutil.rmtree(target)
        else:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink(missing_ok=True)
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="egowm recipes", description="List the recipes, or copy them with their priors."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="copy")
    copying = verbs.add_parser("copy", help="copy a recipe and the priors that it names")
    copying.add_argument("name", metavar="NAME|all", help="a recipe's name, or all of them")
    copying.add_argument("destination", nargs="?", default=".", type=Path, metavar="DEST")
    copying.add_argument("--force", action="store_true", help="overwrite what is there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`egowm recipes [copy NAME|all [DEST] [--force]]`."""
    arguments = _parser().parse_args(argv)
    available = recipes()
    if arguments.verb is None:
        for name, path in available.items():
            print(name, *(f"    {line}" for line in header(path)), sep="\n")
        print(f"\nin {share_folder('recipes')}; `egowm recipes copy NAME` brings one here")
        return 0
    if arguments.name != "all" and arguments.name not in available:
        raise ValueError(
            f"no recipe '{arguments.name}': expected one of {', '.join(available)} or all"
        )
    names = list(available) if arguments.name == "all" else [arguments.name]
    for path in copy(names, arguments.destination, arguments.force):
        print(path)
    return 0
