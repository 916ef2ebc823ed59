"""Recipes and priors: found, listed, copied, never overwritten unasked."""

from pathlib import Path

import pytest

from egowm import shipped
from egowm.commands import main as cli
from egowm.commands import recipes as share

RECIPE = """# Reproduces the table.
# Costs 5 minutes
# on 2 cores.
# Gave SCS 12.3.
# A fourth line
model:
  backbone:
    pretrained: ./priors/rooms-svd
# see also ./priors/not-shipped.
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up installation with two recipes and one prior; the working folder is beside it."""
    home = tmp_path / "home"
    (home / "recipes").mkdir(parents=True)
    (home / "recipes" / "b_second.yaml").write_text("# One line\nmodel: {}\n")
    (home / "recipes" / "a_first.yaml").write_text(RECIPE)
    prior = home / "priors" / "rooms-svd" / "unet"
    prior.mkdir(parents=True)
    (prior / "config.json").write_text("{}")
    for module in (share, shipped):
        monkeypatch.setattr(module, "share_folder", lambda kind: home / kind)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return home


def written(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("kind", ["recipes", "priors"])
def test_folders_are_found(kind):
    assert share.share_folder(kind).name == kind
    assert share.share_folder(kind).is_dir()


def test_the_folder_inside_the_package_comes_first(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "egowm"
    (package / "recipes").mkdir(parents=True)
    (package.parent / "recipes").mkdir()
    monkeypatch.setattr(shipped, "__file__", str(package / "shipped.py"))
    assert share.share_folder("recipes") == package / "recipes"
    (package / "recipes").rmdir()
    assert share.share_folder("recipes") == package.parent / "recipes"
    with pytest.raises(FileNotFoundError, match="expected the folder 'priors'"):
        share.share_folder("priors")


def test_list_shows_three_header_lines(shelf, capsys):
    assert share.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "a_first",
        "    Reproduces the table.",
        "    Costs 5 minutes",
        "    on 2 cores.",
        "    Gave SCS 12.3.",
        "b_second",
        "    One line",
    ]


def test_copy_brings_the_prior_that_a_recipe_names(shelf, capsys):
    assert share.main(["copy", "a_first"]) == 0
    assert written(Path()) == ["priors/rooms-svd/unet/config.json", "recipes/a_first.yaml"]
    assert capsys.readouterr().out.splitlines() == ["recipes/a_first.yaml", "priors/rooms-svd"]


def test_copy_all_elsewhere(shelf):
    assert share.main(["copy", "all", "there"]) == 0
    assert written(Path("there")) == [
        "priors/rooms-svd/unet/config.json",
        "recipes/a_first.yaml",
        "recipes/b_second.yaml",
    ]


def test_copy_refuses_to_overwrite_and_writes_nothing(shelf, capsys):
    prior = Path("priors/rooms-svd")
    prior.mkdir(parents=True)
    (prior / "mine").write_text("kept")
    assert cli.main(["recipes", "copy", "a_first"]) == 2
    err = capsys.readouterr().err
    assert "priors/rooms-svd holds mine, which `egowm recipes copy` did not write" in err
    assert cli.main(["recipes", "copy", "a_first", "--force"]) == 2
    assert written(Path()) == ["priors/rooms-svd/mine"]


def test_copies_are_replaced_with_force(shelf, capsys):
    assert cli.main(["recipes", "copy", "a_first"]) == 0
    Path("recipes/a_first.yaml").write_text("edited")
    assert cli.main(["recipes", "copy", "a_first"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("egowm: recipes/a_first.yaml is there already: --force replaces it")
    assert Path("recipes/a_first.yaml").read_text() == "edited"
    assert cli.main(["recipes", "copy", "a_first", "--force"]) == 0
    assert Path("recipes/a_first.yaml").read_text() == RECIPE
    assert written(Path()) == ["priors/rooms-svd/unet/config.json", "recipes/a_first.yaml"]


def test_an_interrupted_copy_leaves_nothing(shelf, monkeypatch):
    copyfile = share.shutil.copyfile

    def torn(source, target):
        copyfile(source, target)
        if source.suffix == ".json":
            raise KeyboardInterrupt

    monkeypatch.setattr(share.shutil, "copyfile", torn)
    with pytest.raises(KeyboardInterrupt):
        share.copy(["a_first"], Path())
    assert written(Path()) == ["recipes/a_first.yaml"]


def test_unknown_recipe(shelf, capsys):
    assert cli.main(["recipes", "copy", "c_third"]) == 2
    err = capsys.readouterr().err
    assert err == "egowm: no recipe 'c_third': expected one of a_first, b_second or all\n"


def test_every_recipe_has_three_header_lines():
    short = [path.name for path in share.recipes().values() if len(share.header(path)) < 3]
    assert short == []
