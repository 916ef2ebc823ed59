"""What the tutorials printed and drew, as text of their pages and of the gallery."""

import json
from html import escape
from typing import Any

from tutorial import KEPT, ROOT

LONG = 24  # lines of a block's output; more are folded away


def shown(name: str) -> list[dict[str, Any]]:
    """The pictures, films and pages that a tutorial made."""
    results = json.loads((KEPT / name / "made.json").read_text(encoding="utf-8"))
    return [result for result in results if "shown" in result]


def address(name: str, made: dict[str, Any]) -> str:
    return f"made/{name}/{made['shown']}"


def with_results(markdown: str, name: str) -> str:
    """A tutorial's text with what came of its blocks below each."""
    for result in reversed(json.loads((KEPT / name / "made.json").read_text(encoding="utf-8"))):
        inside = picture(name, result) if "shown" in result else output(result["printed"])
        markdown = f"{markdown[: result['end']]}\n\n{inside}\n{markdown[result['end'] :]}"
    return markdown


def output(printed: str) -> str:
    """A block's output; a long one is folded away."""
    lines = printed.splitlines()
    if len(lines) <= LONG:
        return f'``` {{ .text .printed title="prints" }}\n{printed}\n```'
    inside = "\n".join(f"    {line}" for line in ["``` { .text .printed }", *lines, "```"])
    return f'??? quote "prints {len(lines)} lines"\n\n{inside}'


def picture(name: str, made: dict[str, Any]) -> str:
    """A picture, a film or the link to a page, with its caption."""
    there, caption = address(name, made), escape(made["caption"])
    if there.endswith(".html"):
        return f'[{made["caption"]}]({there}){{ target="_blank" .md-button }}'
    film = f'<video src="{there}" autoplay loop muted playsinline controls></video>'
    drawn = (
        film if there.endswith(".mp4") else f'<img src="{there}" alt="{caption}" loading="lazy">'
    )
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def gallery(name: str) -> str:
    """The pictures and films of a tutorial, and the way to it."""
    drawn = [made for made in shown(name) if not made["shown"].endswith(".html")]
    title = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    inside = "\n\n".join(picture(name, made) for made in drawn)
    return f"\n\n## [{title}]({name}.md)\n\n{inside}\n" if drawn else ""
