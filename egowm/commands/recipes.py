"""Where the recipes and priors lie, and `egowm recipes`, which lists and copies them."""

import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from egowm.commands.parser import Parser
from egowm.files import FileKind, FolderKind, check_file, check_folder, check_link, filled, whole
from egowm.shipped import recipes, share_folder

RECIPE = FileKind("a recipe", None)
NAMED_PRIOR = re.compile(r"\./priors/([\w.-]*\w)")


def header(recipe: Path) -> list[str]:
    """A recipe's opening comment: what it is set up after, what it costs, what it gave.

    Those are three lines or more: one whose end is no full stop goes on in the next.
    """
    lines = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    ends = [number for number, line in enumerate(lines, 1) if line.endswith(".")]
    return lines[: ends[2] if len(ends) > 2 else len(lines)]


def copy(names: Sequence[str], destination: Path, force: bool = False) -> list[Path]:
    """Copies recipes to `destination/recipes` and the priors they name to `destination/priors`.

    The layout is the repository's, so `lightning fit -c recipes/NAME.yaml` works in `destination`.

    Returns:
        What was written, recipes first.

    Raises:
        FileExistsError: something is there already and `force` is off, or it is none of egowm's;
            then nothing is written.
    """
    available = recipes()
    sources = [available[name] for name in names]
    sources += [share_folder("priors") / name for name in named_priors(sources)]
    targets = [destination / source.parent.name / source.name for source in sources]
    for source, target in zip(sources, targets, strict=True):
        check_link(target.parent)
        if source.is_dir():
            check_folder(target, _copied(source), force)
        else:
            check_file(target, RECIPE, force)
    for source, target in zip(sources, targets, strict=True):
        _copy_whole(source, target)
    return targets


def named_priors(paths: Sequence[Path]) -> list[str]:
    """Names of the shipped priors to which these recipes point as `./priors/NAME`."""
    found = {name for path in paths for name in NAMED_PRIOR.findall(path.read_text("utf-8"))}
    return sorted(name for name in found if (share_folder("priors") / name).is_dir())


def _copied(source: Path) -> FolderKind:
    """A copy of a prior: it holds all files of the same names, and nothing besides."""
    names = [path.relative_to(source).as_posix() for path in _files(source)]
    files = "|".join(map(re.escape, names))
    return FolderKind("egowm recipes copy", files, partial(_holds, names))


def _holds(names: Sequence[str], folder: Path) -> bool:
    return all((folder / name).is_file() for name in names)


def _copy_whole(source: Path, target: Path) -> None:
    """An interrupted copy leaves no half prior."""
    if source.is_file():
        with whole(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    with filled(target, _copied(source)) as folder:
        for path in _files(source):
            copy = folder / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def _parser() -> Parser:
    parser = Parser(
        prog="egowm recipes",
        description="List the recipes, or copy them with their priors.",
        example="egowm recipes copy rooms_svd my_project/",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="[copy]")
    copying = verbs.add_parser(
        "copy",
        help="copy a recipe and the priors that it names",
        description="Copy a recipe and the priors that it names.",
        example="egowm recipes copy rooms_svd my_project/",
    )
    copying.add_argument("name", metavar="NAME|all", help="a recipe's name, or all of them")
    copying.add_argument(
        "destination",
        nargs="?",
        default=".",
        type=Path,
        metavar="DEST",
        help="folder to copy into (default: this one)",
    )
    copying.add_argument("--force", action="store_true", help="replace copies that are there")
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
