"""The one place where pages are made: whatever is not marked as HTML is escaped.

A piece of a page is a `Markup`: a literal, whose `format` and `join` escape what they put in. The
linter refuses a `Markup` of anything else (S704), so that no piece can forget to.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

from markupsafe import Markup, escape


def fill(page: str, values: Mapping[str, object]) -> str:
    """A page of this folder, as run_page.html, with the style and script that all pages share."""
    shared = {"style": _own("page.css"),
              "script": _own("page.js")}  # fmt: skip
    found = {**shared, **values}
    template = _own(page)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: escape(found[match[1]]), template)


def joined(pieces: Iterable[Markup]) -> Markup:
    """Pieces one after another."""
    return Markup("").join(pieces)


def _own(name: str) -> Markup:
    """A file of this project, which may hold HTML."""
    return Markup(files(__package__).joinpath(name).read_text("utf-8"))  # noqa: S704
