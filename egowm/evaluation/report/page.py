"""The one place where pages are made: whatever is not marked as HTML is escaped.

A piece of a page is a `Markup`: a literal, whose `format` and `join` escape what they put in. The
linter refuses a `Markup` of anything else (S704), so that no piece can forget to.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from markupsafe import Markup, escape

from egowm.scs.record import ScoreRecord

NOTHING = Markup("&ndash;")
_ORDERS = {
    "typical": "typical first",
    "worst": "lowest SCS first",
    "best": "highest SCS first",
    "psnr": "lowest PSNR first",
    "chance": "by chance",
    "name": "by name",
}


def fill(values: Mapping[str, object]) -> str:
    """The page of this folder, with its style and script."""
    pieces = {"style": _own("page.css"), "script": _own("page.js"), **values}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: escape(pieces[match[1]]), _own("page.html"))


def joined(pieces: Iterable[Markup]) -> Markup:
    """Pieces one after another."""
    return Markup("").join(pieces)


def prefixed(of: str) -> str:
    """What the name of a part begins with where it is of a run below that of the page."""
    return f"{of}: " if of else ""


def draw_grid(
    columns: Sequence[tuple[str, str]], rows: Iterable[tuple[Sequence[str], Sequence[str]]]
) -> Markup:
    """A table: (heading, what it means) per column; (name, meaning, class) and cells per row."""
    head = joined(
        Markup('<th scope="col"{}>{}</th>').format(_attribute("title", meaning), name)
        for name, meaning in columns
    )
    body = joined(
        Markup('<tr{}><th scope="row"{}>{}</th>{}</tr>').format(
            _attribute("class", kind), _attribute("title", meaning), name,
            joined(Markup("<td>{}</td>").format(cell or NOTHING) for cell in cells),
        )
        for (name, meaning, kind), cells in rows
    )  # fmt: skip
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)


def _attribute(name: str, value: str) -> Markup:
    return Markup(' {}="{}"').format(name, value) if value else Markup("")


def draw_list(kind: str, items: Iterable[tuple[str, str]]) -> Markup:
    """Terms and what is said of them, as a definition list of class "about" or "notes"."""
    pairs = joined(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, says) for name, says in items
    )
    return Markup('<dl class="{}">{}</dl>').format(kind, pairs) if pairs else Markup("")


def draw_orders(*names: str) -> Markup:
    """The ways to order the clips, the first of them as they stand."""
    option = Markup('<option value="{}">{}</option>')
    return joined(option.format(name, _ORDERS[name]) for name in names)


def draw_warning(text: str | None) -> Markup:
    """What a reader must know before the table; empty without a text."""
    return Markup('<p class="warning">{}</p>').format(text) if text else Markup("")


def draw_protocol(record: ScoreRecord | None) -> Markup:
    """What the score depends on, and where it was made."""
    if record is None:
        return Markup('<p class="brief">None: nothing is scored yet.</p>')
    fingerprint, protocol = record.get("fingerprint"), record.get("protocol")
    versions = [f"{name} {v}" for name, v in (record.get("environment") or {}).items() if v]
    says = [f"Fingerprint {fingerprint}. Only scores with the same one compare."]
    parts = says if fingerprint else ["The scores do not say what they depend on."]
    parts += [f"Environment: {', '.join(versions)}"] if versions else []
    box = Markup('<pre class="scroll" tabindex="0">{}</pre>').format(
        json.dumps(protocol, indent=2, ensure_ascii=False)
    )
    return Markup('<p class="brief">{}</p>{}').format(" ".join(parts), box if protocol else "")


def _own(name: str) -> Markup:
    """A file of this project, which may hold HTML."""
    return Markup(files(__package__).joinpath(name).read_text("utf-8"))  # noqa: S704
