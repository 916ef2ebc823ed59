"""One case: a good input is copied, damaged and run in a process of its own; then judged."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.forks import forks
from tests.fuzz.damage import Edit, do, draw, smaller
from tests.fuzz.place import Place, Target
from tests.fuzz.targets import target_of

MEMORY = 4 << 30  # bytes above what a process has after its imports
SECONDS = 30  # the slowest good input takes a tenth
FAULTS = (
    "traceback", "crash", "hang", "memory", "several lines", "half-written", "input changed",
)  # fmt: skip
# What is told besides: our log, progress bars, notices of Lightning and of libjpeg.
_LOGGED = re.compile(
    r"(INFO|WARNING|DEBUG) \w[\w.]*: |.*(it/s|s/it|\?it|\d+/\d+ \[)|Seed set to|.PU available: |"
    r".{,3}Tip: |`|Restor|Loaded model|.*: No seed found|Corrupt JPEG data: "
)
_TOLD = re.compile(r"egowm(-scs)?( [\w-]+)*: ")


class Verdict(NamedTuple):
    """kind: "fine", "refused" or one of FAULTS; told: the line, or the end of the traceback."""

    kind: str
    told: str


def make(name: str, root: Path) -> None:
    """Write a target's good input, in a process: what it imports or starts is gone afterwards."""
    place = _place(root, name)
    for folder in place:
        folder.mkdir(parents=True, exist_ok=True)
    child = forks().Process(target=_make, args=(name, place))
    child.start()
    child.join()
    assert child.exitcode == 0, f"{name}: no good input"


def edits_of(root: Path, name: str, number: int) -> list[Edit]:
    """The damage of a case."""
    seed = [number, *name.encode()]
    return draw(_place(root, name).inputs, np.random.default_rng(seed))


def try_out(name: str, root: Path, edits: list[Edit], seconds: float = SECONDS) -> Verdict:
    """Run one case beside the good input."""
    target, case = target_of(name), root / f"case-{threading.get_ident()}"
    with _scratch(case):
        place = _place(root, case.name)
        shutil.copytree(_place(root, name).inputs, place.inputs, symlinks=True)
        place.output.mkdir()
        do(place.inputs, edits)
        before = _state(place.inputs)
        child = forks().Process(target=_in_child, args=(name, place, case))
        child.start()
        child.join(seconds)
        hangs = child.is_alive()
        if hangs:
            os.killpg(child.pid, signal.SIGKILL)
            child.join()
        verdict = Verdict("hang", "") if hangs else _judge(target, place, case, child.exitcode)
        changes = _changes(before, _state(place.inputs))
        changed = [name for name in changes if not re.search(target.mends, name)]
        if changed and verdict.kind in ("fine", "refused"):
            return Verdict("input changed", " ".join(changed))
        return verdict


def minimised(name: str, root: Path, edits: list[Edit], kind: str) -> list[Edit]:
    """The least of these edits that ends in the same kind of fault."""
    for fewer in smaller(edits):
        if try_out(name, root, fewer).kind == kind:
            return minimised(name, root, fewer, kind)
    return edits


def _place(root: Path, name: str) -> Place:
    return Place(root / name / "in", root / "kept", root / name / "out")


def _make(name: str, place: Place) -> None:
    os.environ["HOME"] = str(place.kept)
    target_of(name).make(place)


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder)


def _state(folder: Path) -> dict[str, tuple[int, ...]]:
    """What tells whether a file was written to."""
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        written = (about.st_size, about.st_mtime_ns) if not path.is_dir() else ()
        found[path.relative_to(folder).as_posix()] = (about.st_mode, *written)
    return found


def _changes(before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]) -> list[str]:
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))


# In the child ------------------------------------------------------------------------------------


def _in_child(name: str, place: Place, case: Path) -> None:
    os.setsid()  # it ends with all that it started
    os.chdir(place.output)
    os.environ |= {"HOME": str(case), "XDG_CACHE_HOME": str(case / "cache")}
    for number, stream in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(case / stream, os.O_WRONLY | os.O_CREAT), number)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = MEMORY + int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    status, half = 1, []
    try:
        status = target_of(name).run(place) or 0
        half = _unreadable(place.output) if status != 2 else []
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for file in (sys.stdout, sys.stderr):
            file.flush()
        (case / "ended").write_text(json.dumps([status, half]))
        os._exit(0)


def _unreadable(folder: Path) -> list[str]:
    """Outputs that are not whole."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            whole = path.stat().st_size > 0 and READ.get(path.suffix, lambda p: True)(path)
        except Exception:
            whole = False
        if not whole:
            found.append(path.relative_to(folder).as_posix())
    return found


def _picture(path: Path) -> bool:
    from egowm.video import read_image

    return bool(read_image(path).size)


def _video(path: Path) -> bool:
    from egowm.video import read_frames

    return len(read_frames(path)) > 0


def _moving(path: Path) -> bool:
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        return len([frame.load() for frame in ImageSequence.Iterator(image)]) > 0


def _tensors(path: Path) -> bool:
    from safetensors.torch import load_file

    return bool(load_file(path))


READ: dict[str, Callable[[Path], bool]] = {
    ".json": lambda path: json.loads(path.read_text("utf-8")) is not None,
    ".html": lambda path: path.read_text("utf-8").rstrip().endswith("</html>"),
    ".npz": lambda path: bool({k: v.shape for k, v in np.load(path).items()}),
    ".npy": lambda path: bool(np.load(path).size),
    ".csv": lambda path: path.read_text("utf-8").endswith("\n"),
    **dict.fromkeys((".png", ".jpg"), _picture),
    ".mp4": _video,
    ".webp": _moving,
    ".safetensors": _tensors,
}


# Afterwards --------------------------------------------------------------------------------------


def _judge(target: Target, place: Place, case: Path, exitcode: int | None) -> Verdict:
    err = (case / "stderr").read_bytes().decode("utf-8", "replace")
    if not (case / "ended").is_file():  # else it came to its end, whatever the code is read as
        return Verdict("crash", f"signal {-(exitcode or 0)}; {err[-200:]}")
    status, half = json.loads((case / "ended").read_text())
    if "Traceback (most recent call last)" in err:
        memory = not target.trusted and re.search(r"MemoryError|can't allocate memory", err)
        return Verdict("memory" if memory else "traceback", _end(err))
    lines = [line for line in re.split("[\r\n]", err) if line.strip() and not _LOGGED.match(line)]
    told = [line for line in lines if _TOLD.match(line)]
    left = [
        name
        for path in place.output.rglob("*")
        if not path.is_dir()
        and not re.search(target.leaves, name := path.relative_to(place.output).as_posix())
    ]
    if half or (status == 2 and left) or any(".egowm-" in name for name in left):
        return Verdict("half-written", " ".join(half or left))
    if status == 2 and len(lines) == len(told) == 1:
        memory = not target.trusted and "not enough memory" in told[0]
        return Verdict("memory" if memory else "refused", told[0])
    if status == 2:
        return Verdict("several lines", " / ".join(lines[:4])[:400])
    return Verdict("fine", f"status {status}")


def _end(err: str) -> str:
    """The last line of a traceback, and the last place in egowm."""
    places = re.findall(r'File "[^"]*/(egowm/[^"]*)", line (\d+)', err)
    where = ":".join(places[-1]) if places else "?"
    return f"{where}: {err.strip().splitlines()[-1][:200]}"
