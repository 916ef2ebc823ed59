"""Outputs are whole or as they were, and what is not of their kind stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from egowm import files
from egowm.files import FileKind, FolderKind, check_file, check_folder, filled, whole
from tests.forks import dying

MADE = FolderKind("egowm made", r"[ab]\.txt|parts/\d+\.txt", keeps=("parts",))
PAGE = FileKind("a page", rb"<page")


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()
    }


def make(folder: Path, **texts: str) -> None:
    with filled(folder, MADE) as temporary:
        for name, text in texts.items():
            (temporary / f"{name}.txt").write_text(text)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "page.html"
    with whole(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (path.parent, ".html")
        temporary.write_text("first")
        assert not path.exists()

    def fail() -> None:
        with whole(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert tree(tmp_path) == {"new/page.html": "first"}


@pytest.mark.parametrize("make", [whole, lambda path: filled(path, MADE)])
def test_folders_above_go_again(make, tmp_path, monkeypatch):
    """Those that were made for what failed, and hold nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()

    def fail(path: Path, beside: Path) -> None:
        with make(path):
            beside.write_text("kept")
            raise ValueError("half")

    for path in (tmp_path / "a/b/c", tmp_path / "mine/c", Path("a/b/c")):
        with pytest.raises(ValueError, match="half"):
            fail(path, tmp_path / "mine/kept")
        assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "mine/kept").unlink()
    with pytest.raises(ValueError, match="half"):
        fail(tmp_path / "a/b/c", tmp_path / "a/another")
    assert tree(tmp_path) == {"a/another": "kept"}
    assert not (tmp_path / "a/b").exists()


def test_a_folder_is_replaced_as_a_whole_and_stays_the_same_folder(tmp_path):
    folder = tmp_path / "out"
    make(folder, a="1", b="1")
    (folder / "parts").mkdir()
    (folder / "parts/1.txt").write_text("kept")
    (folder / f".egowm-{gone()}-new").mkdir()  # of a process that was killed
    number = folder.stat().st_ino
    make(folder, a="2")
    assert tree(folder) == {files.MARK: "egowm made\n", "a.txt": "2", "parts/1.txt": "kept"}
    assert folder.stat().st_ino == number
    assert {p.name for p in folder.iterdir()} == {files.MARK, "a.txt", "parts"}


@pytest.mark.parametrize("when", ["filling", "moving"])
def test_a_folder_is_as_it_was_after_an_error(tmp_path, monkeypatch, when):
    folder = tmp_path / "out"
    make(folder, a="1", b="1")
    before, rename = tree(tmp_path), Path.rename

    def torn(self, target):
        if self.parent.name.endswith("-new") and self.name == "b.txt":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    def fail(path: Path) -> None:
        with filled(path, MADE) as temporary:
            (temporary / "a.txt").write_text("2")
            (temporary / "b.txt").write_text("2")
            if when == "filling":
                raise OSError(28, "No space left on device")

    if when == "moving":
        monkeypatch.setattr(Path, "rename", torn)
    with pytest.raises(OSError, match="No space"):
        fail(folder)
    assert tree(tmp_path) == before
    assert {p.name for p in folder.iterdir()} == {files.MARK, "a.txt", "b.txt"}


def test_a_folder_appears_when_all_is_there(tmp_path):
    with filled(tmp_path / "out", MADE) as temporary:
        (temporary / "a.txt").write_text("1")
        assert [p.name for p in tmp_path.iterdir()] == [temporary.name]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / ".git").mkdir(),
        lambda folder: (folder / ".2024-notes").write_text("mine"),
        lambda folder: (folder / "parts").symlink_to(folder.parent),
        lambda folder: (folder / "a.txt").rename(folder / "c.txt"),
        lambda folder: (folder / files.MARK).write_text("egowm other\n"),
        lambda folder: (folder / files.MARK).unlink(),
    ],
)
def test_what_the_command_did_not_write_is_refused_with_force_too(tmp_path, change):
    folder = tmp_path / "out"
    make(folder, a="1")
    change(folder)
    with pytest.raises(FileExistsError, match="which `egowm made` did not write"):
        check_folder(folder, MADE, force=True)


def test_what_may_be_used(tmp_path):
    folder, file = tmp_path / "out", tmp_path / "page.html"
    for _ in range(2):
        check_folder(folder, MADE)
        folder.mkdir(exist_ok=True)
        (folder / ".DS_Store").write_bytes(b"of the file browser")
    make(folder, a="1")
    with pytest.raises(FileExistsError, match="--force replaces it as a whole"):
        check_folder(folder, MADE)
    check_folder(folder, MADE, force=True)
    check_file(file, PAGE)
    for text in ("", "<page>"):
        file.write_text(text)
        check_file(file, PAGE)
    file.write_text(" <page>")
    for force in (False, True):
        with pytest.raises(FileExistsError, match="is not a page: nothing was written"):
            check_file(file, PAGE, force)
    with pytest.raises(FileExistsError, match="--force replaces it"):
        check_file(file, FileKind("a picture", None))
    check_file(file, FileKind("a picture", None), force=True)


@pytest.mark.parametrize("place", [".", "home", "", "link/..", "device"])
def test_places_that_are_no_output(tmp_path, monkeypatch, place):
    (tmp_path / "here" / "home").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here/home"))
    path = Path("/dev/null") if place == "device" else Path(place)
    path = tmp_path / path if place == "link/.." else path
    with pytest.raises(OSError, match=r"working folder|home folder|is a file|not write"):
        check_folder(path, MADE, force=True)
    with pytest.raises(OSError, match=r"is a folder|ordinary file"):
        check_file(path, PAGE, force=True)


def gone() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.parametrize("moved", range(5))
def test_a_replacement_that_was_killed_is_undone_or_finished(tmp_path, monkeypatch, moved):
    """Killed before each of its renames: the old entries move aside first, then the new come."""
    folder = tmp_path / "out"
    make(folder, a="1")
    before = tree(folder)
    child = os.fork()
    if not child:
        Path.rename = dying(moved)
        make(folder, a="2")
        os._exit(1)  # never comes so far, but where all four renames are done
    assert os.waitpid(child, 0)[1] == (256 if moved == 4 else 0)
    check_folder(folder, MADE, force=True)
    after = before if moved < 3 else before | {"a.txt": "2"}
    assert tree(folder) == after
    assert {p.name for p in folder.iterdir()} == set(after)
    make(folder, a="3")
    assert tree(folder) == before | {"a.txt": "3"}


def test_what_an_unknown_process_moved_aside_is_not_taken_for_rubbish(tmp_path):
    folder = tmp_path / "out"
    make(folder, a="1")
    (folder / ".egowm-aside-1-ffffffff-2").mkdir()
    (folder / ".egowm-aside-1-ffffffff-2/a.txt").write_text("theirs")
    for _ in range(2):
        with pytest.raises(FileExistsError, match="had moved aside: move it back or delete it"):
            make(folder, a="3")
    assert (folder / ".egowm-aside-1-ffffffff-2/a.txt").read_text() == "theirs"


def test_what_another_process_is_writing_stays(tmp_path):
    folder = tmp_path / "out"
    make(folder, a="1")
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        live = folder / f".egowm-{other.pid}-new"
        live.mkdir()
        (live / "a.txt").write_text("theirs")
        make(folder, a="2")
        assert (live / "a.txt").read_text() == "theirs"
    finally:
        other.kill()
        other.wait()


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    make(folder, a="1")
    (folder / "closed").mkdir()
    scandir = os.scandir

    def refused(place):
        if str(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="closed"):
        check_folder(folder, MADE, force=True)
