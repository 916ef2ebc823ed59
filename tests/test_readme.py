"""The front page is short and shows a moving picture, and no page speaks in private letters."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [*sorted(ROOT.glob("priors/*/README.md")), *sorted((ROOT / "recipes").glob("*.yaml"))]
# The letters that records name their runs by; in code such a letter is a size.
CODES = re.compile(r"(?<![\w/])(?:P0|[PS]\+?)(?![\w/])")


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_papers_that_pages_and_recipes_name_are_linked():
    """An arXiv number on the front page or in a recipe's header has its link among the papers."""
    papers = (ROOT / "docs/recipes.md").read_text()
    heads = ["".join(path.open().readlines()[:3]) for path in (ROOT / "recipes").glob("*.yaml")]
    front = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\d{4}\.\d{5}", " ".join([front, *heads])))
    assert {"2601.15284", "2412.03572"} <= named
    assert {number for number in named if f"https://arxiv.org/abs/{number})" not in papers} == set()
    assert "(CITATION.cff)" in front


def test_the_moving_picture_is_small_and_moves():
    from PIL import Image

    path = ROOT / "docs/rooms.webp"
    assert path.stat().st_size < 1.5e6
    with Image.open(path) as picture:
        assert picture.n_frames == 17
        assert min(picture.size) > 2 * 192


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_spells_out_its_runs(page):
    text = page.read_text(encoding="utf-8")
    shown = text if page.suffix == ".md" else "\n".join(text.splitlines()[:3])
    prose = re.sub(r"```.*?```|`[^`]*`", "", shown, flags=re.DOTALL)
    assert CODES.findall(prose) == []
