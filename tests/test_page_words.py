"""Every command of ours on the pages is understood, by its own parser, up to where its work begins.

Those of the tutorials are run when the site is built (docs/site/tutorial.py), and most of the
guides' by tests/test_page_commands.py, at a small size; these are the words as they stand.
"""

import argparse
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from egowm.commands import main as cli
from egowm.commands.scs import main as scs
from tests.pages import BLOCK, OURS, PAGES, ROOT, TUTORIALS, blocks, commands

GUIDES = [page for page in PAGES if page not in TUTORIALS]
TYPED = [(page, words) for page in GUIDES for words in commands(page)]


class Understood(BaseException):
    """Ends a command once its words are parsed."""


def stop(*arguments: object) -> None:
    raise Understood


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where a reader types: what a checkout brings, and recipes by the pages' names for any."""
    place = tmp_path_factory.mktemp("typed")
    for name in ("recipes", "priors", "benchmarks"):
        (place / name).symlink_to(ROOT / name)
    for name in ("RECIPE", "recipe.yaml", "my_robot.yaml"):
        (place / name).symlink_to(ROOT / "recipes/rooms_svd.yaml")
    run = place / "runs/students/distilled-one/lightning_logs/version_0"
    run.mkdir(parents=True)  # which the page's first command writes
    (run / "config.yaml").symlink_to(ROOT / "recipes/rooms_svd_student.yaml")
    return place


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")
@pytest.mark.parametrize(
    ("page", "words"), TYPED, ids=[f"{page.stem}: {' '.join(w[:4])}" for page, w in TYPED]
)
def test_a_command_of_a_page_is_understood(page, words, folder, monkeypatch):
    """By its own parser, up to where its work would begin; the recipes that it names exist."""
    program, verb, *rest = words
    monkeypatch.chdir(folder)
    assert all(Path(word).is_file() for word in rest if word.startswith("recipes/"))
    if program in ("egowm", "lightning") and cli.VERBS[verb].passes_itself:
        monkeypatch.setattr("egowm.commands.work.fit.FitCLI._parse_ckpt_path", stop)
        with pytest.raises(Understood):
            cli._run([verb, *rest])
        return
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser: argparse.ArgumentParser, args=None, namespace=None):
        parse(parser, args, namespace)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    if program == "python":
        module, *rest = rest
        package = find_spec(module).submodule_search_locations is not None
        main = import_module(f"{module}.__main__" if package else module).main
    else:
        main = scs.run if program == "egowm-scs" else cli._run
        rest = [verb, *rest]
    with pytest.raises(Understood):
        main(rest)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_no_command_of_ours_is_left_out(page):
    """Each stands in a block of bash, where the tests above and tutorials find it."""
    typed = re.sub(r"(^|\s)#.*", "", "".join(blocks(page)), flags=re.MULTILINE)
    assert len(OURS.findall(typed)) == len(commands(page))
    text = page.read_text("utf-8")
    others = [code for language, code in BLOCK.findall(text) if language not in ("bash", "python")]
    assert not OURS.findall("".join(others))
    assert "```" not in BLOCK.sub("", text)  # no block is indented


def test_targets_and_modules_on_the_pages_exist():
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text("utf-8")
        # A record says by which command it was made, which may be no more.
        text = re.sub(r"<!-- (\S+):begin -->.*?<!-- \1:end -->", "", text, flags=re.DOTALL)
        targets = re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)
        modules = re.findall(r"python -m ((?:benchmarks|tests)[\w.]*)", text)
        assert set(targets) <= rules, page
        assert [module for module in modules if find_spec(module) is None] == [], page


def test_reproducing_the_paper_names_every_journey():
    found = commands(ROOT / "docs/reproduce.md")
    verbs = {" ".join(words[: 3 if words[1] == "data" else 2]) for words in found}
    asked = {"egowm fit", "egowm export", "egowm eval", "egowm import-egowm", "egowm memory"}
    assert asked | {"egowm-scs annotate", "egowm-scs score", "egowm data convert"} <= verbs
