"""Reads the house's docstrings for the reference: what `help()` shows as it stands, in sections."""

import re
from typing import Any

from griffe import Extension, Object

SHARED = re.compile(r"^(    )(\w+(?:, \w+)+): (.*(?:\n {8,}.*)*)", re.MULTILINE)


class HouseStyle(Extension):
    """One line for each parameter, and examples under a heading of their own."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = sections(obj.docstring.value)


def sections(text: str) -> str:
    """A docstring in Google's sections.

    `Args:` may name several parameters at once ("cost, space: As in ..."), and an example follows a
    blank line without a heading.
    """
    text = SHARED.sub(lambda m: "\n".join(f"    {name}: {m[3]}" for name in m[2].split(", ")), text)
    parts = re.split(r"\n\n(?=>>>)", f"\n\n{text}" if text.startswith(">>>") else text)
    return "".join([parts[0], *(_example(part) for part in parts[1:])]).strip("\n")


def _example(part: str) -> str:
    """An example and whatever stands below it."""
    example, *rest = part.split("\n\n", 1)
    shifted = "\n".join(f"    {line}" for line in example.splitlines())
    return "\n\n".join(["", f"Examples:\n{shifted}", *rest]) if example else ""
