"""The site: every page is on it, every public name, nothing comes from elsewhere, and a tutorial
that does not work ends its build. `make docs` builds it; here are its parts."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("docstrings", "hook", "reference", "results", "tutorial")
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


@pytest.fixture(scope="module")
def site():
    """The modules of docs/site, as mkdocs imports them."""
    sys.path.insert(0, str(ROOT / "docs/site"))
    yield {name: import_module(name) for name in MODULES}
    sys.path.remove(str(ROOT / "docs/site"))


@pytest.fixture
def run(site, tmp_path):
    """Runs a page of this text; what it made."""

    def run(text: str) -> list:
        page, folder = tmp_path / "page.md", tmp_path / "kept"
        folder.mkdir()
        page.write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            return site["tutorial"].run(page, folder)

    return run


def pages(nav: list) -> list[str]:
    found = [next(iter(part.values())) if isinstance(part, dict) else part for part in nav]
    return [name for part in found for name in (pages(part) if isinstance(part, list) else [part])]


def test_every_page_is_on_the_site(site):
    listed = pages(NAV)
    assert len(listed) == len(set(listed))
    docs = {path.name for path in ROOT.glob("docs/*.md")}
    references = {f"reference/{face}.md" for face in site["reference"].faces()}
    assert set(listed) == docs | references | set(site["hook"].OTHERS)


def test_every_public_name_is_in_the_reference(site):
    part = site["reference"]
    assert {"egowm", "egowm.planning", "egowm.evaluation"} < set(part.faces())
    for face in part.faces():
        room = import_module(face)
        names = [n for n in room.__all__ if n != "__version__" and not is_room(face, n)]
        told = re.findall(r"heading: (egowm\S+),", part.reference(face))
        assert told == [f"{face}.{name}" for name in names]


def test_a_function_is_found_in_the_module_of_its_name(site):
    assert site["reference"].path_of("egowm.planning", "cem") == "egowm.planning.cem.cem"
    assert site["reference"].path_of("egowm.planning", "MPC") == "egowm.planning.MPC"


def is_room(face: str, name: str) -> bool:
    return (ROOT / face.replace(".", "/") / name).is_dir()


def test_what_comes_from_elsewhere_is_found(site):
    found = site["hook"].OUTSIDE.findall
    assert found('<script defer src="https://cdn.example/a.js"></script>')
    assert found('<link rel="stylesheet" href=//fonts.example/css>')
    assert found("body { background: url('http://example.org/a.png') }")
    assert not found('<a href="https://arxiv.org/abs/1">a</a><img src="made/a.webp">')


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("index.md", "docs/scs.md", "scs.md"),
        ("index.md", "CITATION.cff", "files/CITATION.cff.txt"),
        ("scs.md", "../README.md", "index.md"),
        ("scs.md", "../CONTRIBUTING.md", "contributing.md"),
        ("scs.md", "encoders.md", "encoders.md"),
        ("policies.md", "../egowm/policies/policy.py", "files/egowm/policies/policy.py.txt"),
    ],
)
def test_a_link_of_the_repository_leads_somewhere_on_the_site(site, page, link, there):
    assert site["hook"].rewritten(page, link) == there


def test_a_page_is_run_from_top_to_bottom(run, tmp_path):
    made = run(
        "Write this to `told.txt`:\n\n```\n600 steps\n```\n\n"
        "```bash\ncat told.txt\n```\n\n```python\nx = 3\n```\n\n"
        "```python\nopen('x.png', 'w').write('drawn')\nprint(x)\n```\n\n"
        "<!-- shows x.png: A drawing. -->\n\n"
        "| on this page | when it was built |\n|---|---|\n| `600` | `6` |\n"
    )
    assert [result.get("printed") for result in made] == ["6 steps", "3", None]
    assert (made[2]["shown"], made[2]["caption"]) == ("x.png", "A drawing.")
    assert (tmp_path / "kept/x.png").read_text() == "drawn"
    assert not (tmp_path / "told.txt").exists()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("\n```bash\ntrue\nfalse\n```\n", r"page\.md:2: status 1"),
        ("```bash\nfalse | true\n```\n", r"page\.md:1: status 1"),
        ("\n\n```python\n\n1 / 0\n```\n", r'page\.md:3: (.|\n)*page\.md", line 5(.|\n)*ZeroDiv'),
        ("<!-- shows a.png: A. -->\n", r"page\.md:1: .*a\.png"),
        (
            "| on this page | when it was built |\n|---|---|\n| `600` | `6` |\n",
            "no block holds '600'",
        ),
        ("| on this page | when it was built |\n|---|---|\n| 600 | 6 |\n", "expected rows"),
    ],
)
def test_a_page_that_does_not_work_says_where(site, run, text, wrong):
    with pytest.raises(site["tutorial"].Failed, match=wrong):
        run(text)


def test_results_stand_below_their_blocks(site, tmp_path, monkeypatch):
    results = site["results"]
    monkeypatch.setattr(results, "KEPT", tmp_path)
    (tmp_path / "page").mkdir()
    text = "```bash\nls\n```\nNext.\n"
    made = [{"end": len("```bash\nls\n```"), "printed": "a.txt"}]
    (tmp_path / "page/made.json").write_text(json.dumps(made))
    found = results.with_results(text, "page")
    assert found.index("ls") < found.index("a.txt") < found.index("Next.")
    assert results.output("line\n" * 40).startswith('??? quote "prints 40 lines"')


def test_a_docstring_is_read_in_sections(site):
    found = site["docstrings"].sections(
        "Add.\n\nArgs:\n    a, b: Numbers, of\n        any kind.\n    c: Another.\n\n"
        ">>> add(1, 2)\n3"
    )
    assert found == (
        "Add.\n\nArgs:\n    a: Numbers, of\n        any kind.\n    b: Numbers, of\n"
        "        any kind.\n    c: Another.\n\nExamples:\n    >>> add(1, 2)\n    3"
    )
