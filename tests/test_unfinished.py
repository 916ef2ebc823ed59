"""Names of what is not whole yet: never the same twice, and swept once their writer has ended."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread

import pytest

from egowm import unfinished as module
from egowm.files import FolderKind, check_folder, filled, whole
from egowm.unfinished import is_being_written, is_unfinished, sweep, unfinished
from tests.forks import dying

MADE = FolderKind("egowm made", r"[ab]\.txt")
WEEK = 7 * 24 * 3600


def process(code: str = "import time; time.sleep(60)") -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code])


def named(tmp_path: Path, number: int, space: str, start: str, name: str = "a.txt") -> Path:
    path = tmp_path / f".egowm-{number}-{space}-{start}-00000000-{name}"
    path.write_text("theirs")
    return path


def test_no_name_comes_twice():
    names = {unfinished("a.txt") for _ in range(1000)}
    assert len(names) == 1000
    assert all(map(is_unfinished, names))
    pattern = rf"\.egowm-{os.getpid()}-[0-9a-f]{{8}}-\d+-[0-9a-f]{{8}}-a\.txt"
    assert all(re.fullmatch(pattern, name) for name in names)


def test_what_a_killed_process_left_is_swept(tmp_path):
    """While it runs, once it was killed and before anybody fetched its status, and afterwards."""
    other = process()
    start = module._started(other.pid)
    assert int(start) > 0
    left = named(tmp_path, other.pid, module._SPACE, start)
    sweep(tmp_path)
    assert left.read_text() == "theirs"
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert not is_being_written(left)
    sweep(tmp_path)
    assert not left.exists()
    other.wait()
    assert not is_being_written(left)


@pytest.mark.parametrize(
    ("name", "alive"),
    [
        ("{here}-{space}-{start}-00000000-a", True),
        ("{here}-{space}-7-00000000-a", False),  # an earlier process had the number
        ("{here}-{former}-a", False),  # of older versions, as the next two
        ("{here}-a", False),
        ("{parent}-a", True),
        ("{parent}-{space}-7-00000000-a", False),
        ("{here}-ffffffff-{start}-00000000-a", True),  # in another container
        ("{here}-ffffffff-a", True),
    ],
)
def test_whether_a_writer_still_runs(tmp_path, name, alive):
    known = {"here": os.getpid(), "parent": os.getppid(), "start": module._started(os.getpid())}
    name = name.format(**known, space=module._SPACE, former=module._FORMER)
    path = tmp_path / f".egowm-{name}"
    path.mkdir()
    assert is_being_written(path) is alive


def test_what_nobody_changed_elsewhere_for_a_week_is_swept(tmp_path):
    folder = tmp_path / ".egowm-1-ffffffff-7-00000000-run"
    folder.mkdir()
    inner = folder / "a.txt"
    inner.write_text("theirs")
    now = time.time()
    for path, age in ((inner, WEEK - 60), (folder, 2 * WEEK)):
        os.utime(path, (now - age, now - age))
    sweep(tmp_path)
    assert inner.read_text() == "theirs"
    os.utime(inner, (now - WEEK - 60, now - WEEK - 60))
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_number_do_not_meet(tmp_path):
    """Two containers on one folder, or two threads: the last one wins, whole."""
    path, both = tmp_path / "a.txt", Barrier(2)

    def write(text: str) -> None:
        with whole(path) as temporary:
            temporary.write_text(text)
            both.wait()
            assert temporary.read_text() == text
            both.wait()

    threads = [Thread(target=write, args=(text * 100,)) for text in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("x" * 100, "y" * 100)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def elsewhere(patch: Callable) -> None:
    """In another container, which counts its own processes."""
    patch(module, "_SPACE", "ffffffff")


def of_the_same_number(patch: Callable) -> None:
    """An earlier process had this number, as in a container that starts again."""
    here = os.getppid()
    patch(module.os, "getpid", lambda: here)
    patch(module, "_started", lambda process: "7")


@pytest.mark.parametrize("where", [elsewhere, of_the_same_number])
@pytest.mark.parametrize("moved", range(4))
def test_a_replacement_killed_in_a_container_does_not_block_the_next(tmp_path, where, moved):
    """Killed before each of its renames: two old entries move aside, two new ones come."""
    folder = tmp_path / "out"

    def make(text: str) -> None:
        with filled(folder, MADE) as temporary:
            (temporary / "a.txt").write_text(text)

    def texts() -> dict[str, str]:
        return {path.name: path.read_text() for path in folder.iterdir()}

    make("1")
    child = os.fork()
    if not child:
        where(setattr)
        Path.rename = dying(moved)
        make("2")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    check_folder(folder, MADE, force=True)
    assert texts() == {".egowm": "egowm made\n", "a.txt": "2" if moved == 3 else "1"}
    make("3")
    assert texts() == {".egowm": "egowm made\n", "a.txt": "3"}


def test_a_name_may_be_as_long_as_the_system_lets_it(tmp_path):
    """Also in letters of three bytes; the ending, which writers look at, stays."""
    for name in ("a" * 251 + ".txt", "\u6f22" * 83 + ".txt"):
        assert unfinished(name).endswith(".txt")
        with whole(tmp_path / name) as temporary:
            temporary.write_text("b")
        assert (tmp_path / name).read_text() == "b"
    assert len(list(tmp_path.iterdir())) == 2
