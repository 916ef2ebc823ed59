"""The one place where pages are made: whatever is not marked as HTML is escaped.

A piece of a page is a `Markup`: a literal, whose `format` and `join` escape what they put in. The
linter refuses a `Markup` of anything else (S704), so that no piece can forget to.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files

from markupsafe import Markup, escape


def fill(package: str, values: Mapping[str, object]) -> str:
    """The report_page.html of a package, with the style and script that all pages share."""
    shared = {"style": _own("egowm.evaluation", "page.css"),
              "script": _own("egowm.evaluation", "page.js")}  # fmt: skip
    found = {**shared, **values}
    template = _own(package, "report_page.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: escape(found[match[1]]), template)


def joined(pieces: Iterable[Markup]) -> Markup:
    """Pieces one after another."""
    return Markup("").join(pieces)


def _own(package: str, name: str) -> Markup:
    """A file of this project, which may hold HTML."""
    return Markup(files(package).joinpath(name).read_text("utf-8"))  # noqa: S704
