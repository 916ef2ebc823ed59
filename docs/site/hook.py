"""Makes the site of the pages that are read in the repository too; mkdocs.yml names this file.

It adds the pages that lie outside docs/ and the reference, runs the tutorials (tutorial.py) and
puts on each what its blocks printed and drew, turns links to files of the repository into links to
copies, and refuses a site that loads anything from elsewhere or leaves out a public name.
"""

import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import faces, path_of, public, reference
from results import address, gallery, shown, with_results
from tutorial import KEPT, ROOT

# Pages of the site that are not in docs/.
OTHERS = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
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
    linked = {link for file in files if file.is_documentation_page() for link in outside_docs(file)}
    for source in sorted(linked):
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


def tutorials(nav: Any) -> list[str]:
    """The pages below "Tutorials" in mkdocs.yml."""
    return next(part["Tutorials"] for part in nav if "Tutorials" in part)


def source_of(uri: str) -> str:
    """The file of the repository that a page of the site is made of."""
    return OTHERS.get(uri, f"docs/{uri}")


def copied(source: str) -> str:
    """Where a file of the repository that is no page lies on the site, as text."""
    return f"files/{source}.txt"


def target(uri: str, link: str) -> str:
    """The file of the repository that a page links to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source_of(uri)), link))


def outside_docs(file: File) -> Iterator[str]:
    """The files that a page links to and the site lacks."""
    for link in LINK.findall(file.content_string):
        source = target(file.src_uri, link)
        on_site = source.startswith("docs/") or source in OTHERS.values()
        if not on_site and (ROOT / source).is_file():
            yield source


def rewritten(uri: str, link: str) -> str:
    """A link of the repository as one of the site."""
    found = target(uri, link)
    pages = {source: page for page, source in OTHERS.items()}
    there = found.removeprefix("docs/") if found.startswith("docs/") else pages.get(found)
    return posixpath.relpath(there or copied(found), posixpath.dirname(uri) or ".")
