"""Tables beside videos, looked at before torch is loaded: a column that is missing is told in a
second, and once."""

from argparse import Namespace
from pathlib import Path
from typing import Any, get_args

from egowm.commands.parser import Parser
from egowm.data.inspect.signs import ROVER, format_of, tables_of
from egowm.data.table_columns import Columns, TableKind
from egowm.limits import read_yaml_text
from egowm.paths import expanded

KINDS = get_args(TableKind)
CLASSES = ("egowm.data.VideoCSV", "egowm.data.video_csv.VideoCSV")


def add_columns(parser: Parser) -> None:
    """Options that say what the tables of a folder hold, in place of a recipe."""
    add, folder = parser.add_argument, "of a folder of videos with tables: "
    add("--kind", choices=KINDS, help=folder + "what the columns of actions hold")
    add("--actions", nargs="+", metavar="NAME", help=folder + "the columns of actions")
    add("--time", metavar="NAME", help=folder + "the column of times")


def looked_at(args: Namespace) -> Columns:
    """The columns that were asked for, after a look at the tables, which needs no torch."""
    told = {name: getattr(args, name) for name in ("kind", "actions", "time")}
    given = {name: value for name, value in told.items() if value is not None}
    if not is_recipe(args.path):
        if args.root is not None:
            raise ValueError(
                f"--root takes the place of a recipe's root; {args.path} is not a recipe."
            )
        check_folder_tables(args.path, columns := Columns(**given))
        return columns
    for name in given:
        raise ValueError(f"--{name} is for a folder; write {name}: under data into {args.path}.")
    check_recipe_tables(args.path, args.root)
    return Columns()


def is_recipe(path: Path) -> bool:
    """Whether a path is that of a recipe, not a folder's."""
    return path.suffix in (".yaml", ".yml")


def check_folder_tables(folder: Path, columns: Columns) -> None:
    """ValueError where no table of a folder of videos and tables has these columns, or times."""
    if not (folder / ROVER).is_file() and format_of(folder) is None:
        _check(folder, columns)


def _check(folder: Path, columns: Columns) -> None:
    """The same for a folder that is known to be of that kind."""
    if files := tables_of(folder):
        columns.check(files)


def check_recipe_tables(recipe: Path, root: str | None = None) -> None:
    """The same for the data of a recipe, where they are a `VideoCSV`.

    All else is left to those that read the recipe: this only looks. root: in place of the recipe's.
    """
    arguments = _arguments(recipe)
    folder = root or arguments.get("root")
    columns = _columns(arguments)
    if isinstance(folder, str) and columns is not None:
        _check(expanded(folder), columns)


def _arguments(recipe: Path) -> dict[str, Any]:
    """What a recipe tells a `VideoCSV`; nothing where it has none."""
    import yaml

    try:
        content = yaml.safe_load(read_yaml_text(recipe))
        section = content["data"]
        known = section["class_path"] in CLASSES
        return dict(section["init_args"]) if known else {}
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError, RecursionError):
        return {}  # no such recipe, which its reader tells


def _columns(arguments: dict[str, Any]) -> Columns | None:
    """The columns that a recipe names; None where a value is not what it should be."""
    get = arguments.get
    actions, states, rate, kind = get("actions"), get("states"), get("rate_hz"), get("kind")
    fit = (
        isinstance(get("time", ""), str)
        and isinstance(rate, int | float | None)
        and kind in (None, *KINDS)
        and all(_are_texts(names) for names in (actions, states) if names is not None)
    )
    return Columns(actions, states or [], kind, get("time", "time"), rate) if fit else None


def _are_texts(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
