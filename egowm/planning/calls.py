"""Calls as they were before `Space` and `Budget`, refused with what to write."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from egowm.checks import checked
from egowm.planning.space import Space

P = ParamSpec("P")
R = TypeVar("R")


def takes_space(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with an error that names the record where its fields are given loose."""
    names = [*signature(function).parameters]
    place = names.index("space")
    first = ", ".join(name for name in names[:place] if name != "self")
    who = function.__qualname__.removesuffix(".__init__")

    typed = checked(function)

    @wraps(typed)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = kwargs.get("space", args[place] if len(args) > place else None)
        if kwargs.keys() & {"mean", "std", "low", "high"} or not isinstance(given, Space | None):
            raise TypeError(
                f"{who} takes mean, std, low and high as one Space: write "
                f"{who}({first}, Space(mean, std, low, high), ...)."
            )
        if kwargs.keys() & {"seconds", "progress"}:
            raise TypeError(
                f"{who} takes seconds and progress in a Budget: write "
                f"iterations=Budget(iterations, seconds, progress)."
            )
        return typed(*args, **kwargs)

    return call
