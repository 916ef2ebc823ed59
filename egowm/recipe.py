"""Recipes: YAML files that name a model, its data and a trainer. The only reader of them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import isclass, isfunction, signature
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import yaml
from jsonargparse import Namespace
from lightning import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from egowm.checks import hints_of
from egowm.data.module import ClipData
from egowm.limits import read_yaml_text
from egowm.shipped import existing_recipe

_NOISE = (  # lines of jsonargparse's messages that say nothing about the mistake
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Expected a <class 'NoneType'>",
    "Expected a path but",
    "Given value",
)
_OPTIONS = ("-c", "--config")  # that name a recipe
RENAMED = {  # options of older recipes, and what to write now
    "random_start": "`start: egowm.pretraining.copy_of_context` in place of "
    "`random_start: copy`, nothing in place of `default`",
}


class RecipeError(Exception):
    """A recipe or a command line that does not fit the classes it names; one line."""


class RecipeParser(LightningArgumentParser):
    """Says in one line what is wrong, instead of printing the usage first."""

    def parse_args(self, args: Any = None, *rest: Any, **options: Any) -> Any:
        """As the parent; recipes that would take too much time or memory are refused before."""
        words = ["", *map(str, args or [])]
        for before, word in pairwise(words):
            name, is_given, file = word.partition("=")
            if before in _OPTIONS or (is_given and name in _OPTIONS):
                path = Path(word if before in _OPTIONS else file)
                if path.exists():  # else it is the text of a recipe, or an error of the parent
                    _check_trainer(path)
        return super().parse_args(args, *rest, **options)

    def instantiate(self, namespace: Namespace, *rest: Any, **options: Any) -> Namespace:
        """As the parent; null for what must have a value, which it lets through, is refused."""
        for kind, arguments in _classes(namespace):
            for name, value in arguments.items():
                if value is None and not _takes_null(kind, name):
                    raise RecipeError(
                        f"{kind.__name__}: {name} cannot be null: leave it out for its default."
                    )
        return super().instantiate(namespace, *rest, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # an inner parser, whose error the outer one reports
            super().error(message, ex)
        lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
        line = " ".join(x for x in lines if x and not x.startswith(_NOISE))
        if "Unexpected config" in line:
            line += " expected a recipe, a YAML file with the sections model, data and trainer."
        if "arguments are required" in line:
            line += ". Give a recipe: -c recipes/NAME.yaml (`egowm recipes` lists them)."
        line += _meant(line, list(self._option_string_actions))
        line += "".join(f" Write {new}." for old, new in RENAMED.items() if old in line)
        raise RecipeError(line) from ex


def _meant(line: str, options: list[str]) -> str:
    """The option that a mistyped one in a message comes nearest to, as a question; "" for none."""
    if found := re.search(r"nrecognized arguments: (--[\w.]+)", line):
        near = get_close_matches(found[1], options, n=1)
        return f". Did you mean {near[0]}?" if near else ""
    named = re.findall(r"given class_path '([\w.]+)'", line)
    found = re.search(r"Option '(\w+)' is not accepted", line)
    if not named or not found:
        return ""
    kind = resolve_name(named[-1])
    makers = [vars(k).get("__init__") for k in getattr(kind, "__mro__", ())]
    known = {name for make in filter(isfunction, makers) for name in signature(make).parameters}
    near = get_close_matches(found[1], sorted(known - {"self", "rest"}), n=1)
    return f". Did you mean {near[0]}?" if near else ""


def _classes(value: Any) -> Iterator[tuple[type, dict[str, Any]]]:
    """The classes that a value names, however deep, and their arguments."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _classes(each)
    if isinstance(value, dict | Namespace):
        parts = vars(value) if isinstance(value, Namespace) else value
        path, arguments = parts.get("class_path"), parts.get("init_args")
        if isinstance(path, str) and isinstance(arguments, dict | Namespace):
            kind = resolve_name(path)
            if isclass(kind):  # not a function that makes an object
                yield kind, dict(arguments if isinstance(arguments, dict) else vars(arguments))
        for each in parts.values():
            yield from _classes(each)


def _takes_null(kind: type, name: str) -> bool:
    """Whether an argument of a class may be null, by its default or its annotation."""
    makers = (vars(k).get("__init__") for k in kind.__mro__)
    for make in filter(isfunction, makers):
        known = signature(make).parameters.get(name)
        if known is not None:
            return known.default is None or _has_null(hints_of(make).get(name, Any))
    return True


def _has_null(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType, Literal):
        return any(map(_has_null, get_args(hint)))
    return hint in (None, NoneType, Any, object)


def _check_trainer(path: Path) -> None:
    """Refuse a trainer without options, which the parser would read as one of Lightning's own."""
    with suppress(yaml.YAMLError, RecursionError):  # which the parser tells better
        content = yaml.safe_load(read_yaml_text(path))
        trainer = content.get("trainer") if isinstance(content, dict) else None
        if not isinstance(trainer, dict | str | None):
            raise RecipeError(
                f"{path}: trainer: expected options such as max_steps: 1000, got {trainer!r}."
            )


@dataclass(frozen=True)
class Recipe:
    """A recipe that was read; nothing of it is built yet.

    Args:
        path: the file.
        sections: its content.
    """

    path: Path
    sections: Mapping[str, Any]

    def section(self, name: str) -> dict[str, Any]:
        """The section `model` or `data`, with its `init_args`; ValueError where it is missing."""
        section = self.sections.get(name)
        if not isinstance(section, dict) or not isinstance(section.get("class_path"), str):
            raise ValueError(
                f"{self.path}: expected a recipe with a section `{name}` that gives a class_path."
            )
        arguments = section.get("init_args")
        if arguments is not None and not isinstance(arguments, dict):
            raise ValueError(
                f"{self.path}: {name}: expected init_args with a value for each name, got "
                f"{arguments!r}."
            )
        return section | {"init_args": dict(arguments or {})}

    @property
    def trainer(self) -> dict[str, Any]:
        """The options of the trainer that the recipe sets."""
        return dict(self.sections.get("trainer") or {})

    def world_model(self, pretrained: str | None = None) -> dict[str, Any]:
        """The section `model` of a model with a backbone.

        Args:
            pretrained: takes the place of the backbone's own base.
        """
        section = self.section("model")
        backbone = section["init_args"].get("backbone")
        if not isinstance(backbone, dict):
            raise ValueError(f"{self.path}: expected a recipe whose model has a backbone.")
        inner = dict(backbone.get("init_args") or {})
        if pretrained is not None:
            inner["pretrained"] = pretrained
        section["init_args"]["backbone"] = backbone | {"init_args": inner}
        return section

    def data(self, root: str | None = None) -> ClipData:
        """The recipe's data, instantiated.

        Args:
            root: takes the place of the recipe's own root.
        """
        section = self.section("data")
        if root is not None:
            section["init_args"]["root"] = root
        data: ClipData = build(section, ClipData, "data")
        return data


def open_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises FileNotFoundError where there is none, ValueError for a file that is not a recipe.
    """
    try:
        content = yaml.safe_load(read_yaml_text(existing_recipe(path), "a recipe, a YAML file"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected a recipe, a YAML file ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a recipe with sections, got {type(content).__name__}.")
    return Recipe(path, content)


def build(section: Mapping[str, Any], kind: type, name: str = "model") -> Any:
    """What a section describes: an instance of its class, which must be a `kind`."""
    parser = RecipeParser()
    parser.add_subclass_arguments(kind, name)
    try:
        return parser.instantiate(parser.parse_object({name: dict(section)}))[name]
    except (ValueError, TypeError) as error:
        if line := refused_value(error):
            raise RecipeError(line) from error
        raise


def refused_value(error: BaseException) -> str | None:
    """What to say of an error of jsonargparse, if a class cannot take a value."""
    while error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, TypeError):
        return None
    said = re.sub(r"^functools\.partial\(.*\) ", "", str(error))
    return f"A value of the recipe has a type that its class cannot take: {said}."


def build_model(section: Mapping[str, Any]) -> Any:
    """The model that a section describes."""
    return build(section, LightningModule)
