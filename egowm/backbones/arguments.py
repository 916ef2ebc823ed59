"""Arguments of a class as a file names them, checked before an object of it is made."""

import inspect
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from egowm.checks import hints_of


def check_arguments(kind: Any, arguments: dict[str, Any]) -> None:
    """ValueError for arguments that a constructor does not take, by name or by type."""
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error
    hints = hints_of(kind.__init__)
    for name, value in arguments.items():
        if not _fits(value, hints.get(name, Any)):
            raise ValueError(f"{kind.__name__}: {name} cannot be {value!r}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value of JSON is of an annotated type, as far as that is known."""
    origin, kinds = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in kinds)
    if origin is Literal:
        return value in kinds
    if origin in (Sequence, list, tuple):
        return isinstance(value, list | tuple) and all(_fits(x, kinds[0]) for x in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float)
    if hint in (bool, int, str, type(None)):
        return isinstance(value, hint)
    return origin is not Callable  # a function is no value of JSON
