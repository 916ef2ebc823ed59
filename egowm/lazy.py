"""Names of a package that are imported on first use, so that importing the package stays cheap."""

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


def face(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose public names live in its modules.

    The package imports each lazy name below `if TYPE_CHECKING:`, as type checkers need it; the same
    lines are read here when a name is first used. A name imported from the package itself is one of
    its modules.

    Args:
        package: the package's full name.
    """

    @cache
    def homes() -> dict[str, str]:
        found = {}
        source = Path(str(sys.modules[package].__file__)).read_text(encoding="utf-8")
        for block in ast.parse(source).body:
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
                for line in block.body:
                    assert isinstance(line, ast.ImportFrom)
                    found.update({alias.name: line.module or "" for alias in line.names})
        return found

    def get(name: str) -> Any:
        if name not in homes():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes()[name]
        if home == package:
            return import_module(f"{package}.{name}")
        return getattr(import_module(home), name)

    def names() -> list[str]:
        return sorted({*sys.modules[package].__all__, *homes()})

    return get, names
