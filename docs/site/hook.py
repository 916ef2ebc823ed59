"""Makes the site of the pages that are read in the repository too; mkdocs.yml names this file.

It adds the pages that lie outside docs/ and the reference, runs the tutorials (tutorial.py) and puts
on each what its blocks printed and drew, turns links to files of the repository into links to
copies, and refuses a site that loads anything from elsewhere or leaves out a public name.
"""

import ast
import json
import posixpath
import re
import os
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(os.environ.get("FAKE", ROOT / ".cache/tutorials"))
# Pages of the site that are not in docs/.
OTHERS = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
LONG = 24  # lines of a block's output; more are folded away
# What a browser would fetch without being asked.
OUTSIDE = re.compile(
    r"<(?:script|img|video|audio|source|iframe|embed|object|link)\b[^>]*?"
    r"\b(?:src|srcset|href|data|poster)\s*=\s*[\"']?\s*(?:https?:)?//[^\s\"'>]+"
    r"|url\(\s*[\"']?(?:https?:)?//[^\s\"')]+|@import\s+[\"'](?:https?:)?//[^\s\"']+"
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what is not in docs/, once the tutorials are done."""
    pages = [str(ROOT / "docs" / name) for name in tutorials(config.nav)]
    if subprocess.run([sys.executable, ROOT / "docs/site/tutorial.py", *pages]).returncode:
        raise PluginError("A tutorial failed, as is told above.")
    for uri, source in OTHERS.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for face in faces():
        files.append(File.generated(config, f"reference/{face}.md", content=reference(face)))
    for page in pages:
        for made in shown(Path(page).stem):
            there, kept = address(Path(page).stem, made), KEPT / Path(page).stem / made["shown"]
            files.append(File.generated(config, there, abs_src_path=str(kept)))
    for source in sorted({source for file in files if file.is_documentation_page()
                          for source in outside_docs(file.src_uri, file.content_string)}):  # fmt: skip
        files.append(File.generated(config, copied(source), abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """What a page's blocks printed and drew, and links that lead somewhere on the site."""
    uri = page.file.src_uri
    if uri in tutorials(config.nav):
        markdown = with_results(markdown, Path(uri).stem)
    if uri == "gallery.md":
        markdown += "".join(gallery(Path(name).stem) for name in tutorials(config.nav))
    return LINK.sub(lambda match: rewritten(uri, match[1]), markdown)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Refuse a site that loads from elsewhere, and a reference that lacks a public name."""
    site = Path(config.site_dir)
    wrong = [
        f"{path.relative_to(site)} loads {found}"
        for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")])
        for found in OUTSIDE.findall(path.read_text(encoding="utf-8"))
    ]
    for face in faces():
        page = (site / f"reference/{face}.html").read_text(encoding="utf-8")
        missing = [name for name in public(face) if f'id="{path_of(face, name)}"' not in page]
        wrong += [f"the reference lacks {face}.{name}" for name in missing]
    if wrong:
        raise PluginError("\n".join(wrong))


# Links -------------------------------------------------------------------------------------------


def source_of(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    return OTHERS.get(uri, f"docs/{uri}")


def copied(source: str) -> str:
    """Where a file of the repository that is no page lies on the site, as text."""
    return f"files/{source}.txt"


def target(uri: str, link: str) -> str:
    """The file of the repository that a page links to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source_of(uri)), link))


def outside_docs(uri: str, text: str) -> Iterator[str]:
    """The files that a page links to and the site lacks."""
    for link in LINK.findall(text):
        found = target(uri, link)
        if not found.startswith("docs/") and found not in OTHERS.values() and (ROOT / found).is_file():
            yield found


def rewritten(uri: str, link: str) -> str:
    """A link of the repository as one of the site."""
    found = target(uri, link)
    pages = {source: page for page, source in OTHERS.items()}
    there = found.removeprefix("docs/") if found.startswith("docs/") else pages.get(found)
    return posixpath.relpath(there or copied(found), posixpath.dirname(uri) or ".")


# Tutorials ---------------------------------------------------------------------------------------


def tutorials(nav: Any) -> list[str]:
    """The pages below "Tutorials" in mkdocs.yml."""
    return next(part["Tutorials"] for part in nav if "Tutorials" in part)


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
    drawn = film if there.endswith(".mp4") else f'<img src="{there}" alt="{caption}" loading="lazy">'
    return f"<figure>{drawn}<figcaption>{caption}</figcaption></figure>"


def gallery(name: str) -> str:
    """The pictures and films of a tutorial, and the way to it."""
    drawn = [made for made in shown(name) if not made["shown"].endswith(".html")]
    title = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    inside = "\n\n".join(picture(name, made) for made in drawn)
    return f"\n\n## [{title}]({name}.md)\n\n{inside}\n" if drawn else ""


# Reference ---------------------------------------------------------------------------------------


def faces() -> list[str]:
    """The packages whose public names stand in `__all__`."""
    rooms = sorted(path.parent.name for path in ROOT.glob("egowm/*/__init__.py"))
    return ["egowm", *(f"egowm.{room}" for room in rooms if listed(f"egowm.{room}"))]


def listed(face: str) -> list[str]:
    """`__all__` of a package, which is not imported for it."""
    tree = ast.parse((ROOT / face.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def public(face: str) -> list[str]:
    """The public functions, classes and types of a package."""
    folder = ROOT / face.replace(".", "/")
    return [name for name in listed(face) if name != "__version__" and not (folder / name).is_dir()]


def path_of(face: str, name: str) -> str:
    """Where a public name is found: its package, unless a module there has the same name."""
    module = (ROOT / face.replace(".", "/") / f"{name}.py").is_file()
    return f"{face}.{name}.{name}" if module else f"{face}.{name}"


def reference(face: str) -> str:
    """A page: what the package is for, then each of its public names."""
    bare = "members: false, show_root_heading: false, show_root_toc_entry: false"
    parts = [f"# {face}", f"::: {face}\n    options: {{{bare}}}"]
    for name in public(face):
        named = f"heading: {face}.{name}, toc_label: {name}"
        parts.append(f"::: {path_of(face, name)}\n    options: {{{named}}}")
    return "\n\n".join(parts)
