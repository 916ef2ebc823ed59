"""A right call, from which wrong ones are made by changing one argument."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any, NamedTuple

from tests.wrong_calls.mutations import wrongs
from tests.wrong_calls.verdict import verdict

PASSES = ("*: one NaN", "*: one inf", "*: one -inf", "*: all NaN", "*: huge")


class Call(NamedTuple):
    """One callable with right arguments.

    Args:
        name: as a user writes it.
        function: the callable; of a method, one that makes its object anew.
        right: its arguments.
        means: from the arguments and the result, whether it is what they ask for.
        passes: NaN goes through, as through any arithmetic.
        fine: patterns of `argument: label` that are right after all.
    """

    name: str
    function: Callable[..., Any]
    right: dict[str, Any]
    means: Callable[[dict[str, Any], Any], bool] = lambda right, result: True
    fine: tuple[str, ...] = ()
    passes: bool = False

    def wrong(self) -> "Iterator[tuple[str, dict[str, Any], bool]]":
        """What was changed, the arguments, and whether they can mean nothing."""
        for argument, value in self.right.items():
            for wrong in wrongs(value):
                what = f"{argument}: {wrong.label}"
                patterns = (*self.fine, *(PASSES if self.passes else ()))
                fine = any(fnmatchcase(what, pattern) for pattern in patterns)
                yield what, {**self.right, argument: wrong.value}, wrong.refused and not fine
        for one, other in combinations(self.right, 2):
            if type(self.right[one]) is not type(self.right[other]):
                swapped = {one: self.right[other], other: self.right[one]}
                yield f"{one} and {other} swapped", {**self.right, **swapped}, False

    def verdict(self, arguments: dict[str, Any], refused: bool = False) -> str:
        """See `tests.wrong_calls.verdict`."""
        return verdict(
            lambda: self.function(**arguments),
            refused,
            lambda made: self.means(arguments, made),
            not self.passes,
        )
