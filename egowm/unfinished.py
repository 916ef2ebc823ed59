"""Names of what is not whole yet, and whether its writer still runs.

`.egowm-PROCESS-SPACE-START-TOKEN-NAME`. The token is random: no two writers share a name, in
whatever container or thread. The rest tells a writer that was killed, also where its number is
another process's now: `SPACE` is where processes are counted together, a container on a machine
since it started, and `START` is when the process began there, in clock ticks.
"""

import os
import platform
import re
import secrets
import shutil
import time
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

UNFINISHED = ".egowm-"  # how the names begin
ASIDE = ".egowm-aside-"  # what a replacement moved aside: it may be the only copy
# What killed processes, and the file browser of macOS, leave in a folder, and what lies in it.
LEFT = re.compile(r"(.*/)?(\.egowm-\d+-[^/]+(/.*)?|\.DS_Store)")
_NEW = "new"  # the name of new entries for an existing folder
_NAME = re.compile(r"\.egowm-(\d+)-(?:([0-9a-f]{8})-(?:(\d+)-[0-9a-f]{8}-)?)?")
_MOVED = re.compile(rf"{re.escape(ASIDE)}(\d+-[0-9a-f]{{8}}(?:-\d+-[0-9a-f]{{8}})?)-(\d+)")
_LONGEST = 255  # bytes of a name
_WEEK = 7 * 24 * 3600  # seconds without a change, after which a writer elsewhere has ended


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _space(machine: str) -> str:
    link = "/proc/self/ns/pid"
    namespace = os.readlink(link) if os.path.islink(link) else ""
    return f"{zlib.crc32(f'{machine}{namespace}'.encode()):08x}"


_SPACE = _space(_read("/proc/sys/kernel/random/boot_id") or platform.node())
_FORMER = _space(platform.node())  # as older versions named it


def unfinished(name: str = _NEW) -> str:
    """A name that no other writer has, for what will be `name`: its end, where that is long."""
    process = os.getpid()
    first = f"{UNFINISHED}{process}-{_SPACE}-{_started(process)}-{secrets.token_hex(4)}-"
    while len(os.fsencode(first + name)) > _LONGEST:
        name = name[1:]
    return first + name


def is_unfinished(name: str) -> bool:
    """Whether a name is of what is not whole yet, by any writer."""
    return _NAME.match(name) is not None


def is_being_written(path: Path) -> bool:
    """Whether something unfinished has a writer that still runs.

    Where that cannot be known, as on another machine or in another container, it has one until
    nothing in it has changed for a week.
    """
    found = _NAME.match(path.name)
    if found is None:
        return False
    if os.name == "posix" and found[2] in (None, _SPACE, _FORMER):
        return _runs(int(found[1]), found[3])
    with suppress(OSError):  # it is being changed now
        return max(p.lstat().st_mtime for p in (path, *path.rglob("*"))) > time.time() - _WEEK
    return True


def sweep(folder: Path) -> None:
    """Remove what killed processes did not finish writing in a folder, but no half-done
    replacement of its entries: `check_folder` finishes or undoes that."""
    with suppress(OSError):  # another process sweeps too, or the folder may not be listed
        for name in os.listdir(folder):
            left = is_unfinished(name) and not name.endswith(f"-{_NEW}")
            if left and not is_being_written(folder / name):
                remove(folder / name)


@lru_cache(maxsize=4096)
def sweep_once(folder: Path) -> None:
    """In this process: a folder of many files is not listed for each of them."""
    sweep(folder)


def aside_of(new: Path, count: int) -> Path:
    """Where to move what `new` replaces in its folder. count: of the entries that come."""
    writer = new.name.removeprefix(UNFINISHED).removesuffix(f"-{_NEW}")
    return new.with_name(f"{ASIDE}{writer}-{count}")


def new_of(aside: Path) -> tuple[Path, int] | None:
    """What replaces that which was moved aside, and how many entries come; None for other names."""
    found = _MOVED.fullmatch(aside.name)
    return found and (aside.with_name(f"{UNFINISHED}{found[1]}-{_NEW}"), int(found[2]))


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; a missing one is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _runs(process: int, start: str | None) -> bool:
    """Whether a process still runs that began at `start`; older names do not tell when."""
    if process == os.getpid() and start is None:
        return False  # an earlier process had the number
    try:
        os.kill(process, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError):
        return False
    now = _started(process)
    return now == "0" or (now != "" and start in (None, now))


def _started(process: int) -> str:
    """When a process began; "" where it has ended and nobody fetched its status, 0 where the system
    does not tell."""
    fields = _read(f"/proc/{process}/stat").rpartition(") ")[2].split()
    if len(fields) < 20:
        return "0"
    return "" if fields[0] == "Z" else fields[19]
