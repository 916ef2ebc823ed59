"""What commands write: whole or not at all, and never over what is somebody else's.

One rule for every output. A folder that holds anything is refused, unless it holds what the same
command made and nothing besides; with `--force` that is replaced as a whole. A file gives way to
another of its own kind. Neither may be a link itself.
"""

import ctypes
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from egowm.unfinished import (
    ASIDE,
    LEFT,
    UNFINISHED,
    aside_of,
    is_being_written,
    is_unfinished,
    new_of,
    remove,
    sweep_once,
    unfinished,
)

MARK = ".egowm"  # names the command in folders whose content does not tell it
_HEAD = 512  # bytes from which a kind of file is told


class FileKind(NamedTuple):
    """A kind of file that egowm writes.

    what: in words. begins: a pattern at which each of them begins; None where the format has no
    room for a mark, so that one is replaced only with `--force`.
    """

    what: str
    begins: bytes | None


class FolderKind(NamedTuple):
    """A kind of folder that egowm writes.

    command: as it is typed. files: a pattern of the paths of all files in it. made: whether the
    command made a folder; None where it is marked. keeps: entries that stay when it is replaced.
    forced: how one asks to replace it.
    """

    command: str
    files: str
    made: Callable[[Path], bool] | None = None
    keeps: Collection[str] = ()
    forced: str = "--force"


def check_folder(folder: Path, kind: FolderKind, force: bool = False) -> None:
    """Refuse an output folder in one line, before any work; an empty one may be used.

    A replacement that was killed half-way is finished or undone. force: replace what the same
    command made. Raises an OSError.
    """
    _check_place(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: expected the name of a folder to write.")
    with alone(folder) as locked:
        _recover(folder, locked)
        _refuse_others(folder, kind, force)


def check_new(folder: Path, command: str, force: bool = False) -> None:
    """Refuse a folder that holds anything, where it may not be replaced and a command's kind of
    folder is known only when its libraries are loaded; `check_folder` then looks again.

    Raises an OSError.
    """
    _check_place(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: expected the name of a folder to write.")
    paths = _paths(folder) if folder.is_dir() and not force else iter(())
    held = next((p for p in paths if not (LEFT.fullmatch(p) or p.startswith(ASIDE))), None)
    if held is not None:
        raise FileExistsError(
            f"{folder} holds {held}: --force replaces what `{command}` wrote before, or give "
            f"another folder."
        )


def _refuse_others(folder: Path, kind: FolderKind, force: bool) -> None:
    here, home = folder.resolve(), os.path.expanduser("~")  # which is left as it is without one
    for place, name in ((Path(), "working folder"), (Path(home), "home folder")):
        if place.resolve().is_relative_to(here):
            raise FileExistsError(f"{folder} is or holds the {name}: give a folder of its own.")
    held = next((path for path in _paths(folder) if not LEFT.fullmatch(path)), None)
    if held is None:
        return
    marked = re.escape(f"{kind.command}\n").encode()
    made = kind.made or (lambda path: begins(path / MARK, marked))
    allowed = re.compile(rf"{kind.files}|{re.escape(MARK)}")
    others = (p for p in _paths(folder) if not (allowed.fullmatch(p) or LEFT.fullmatch(p)))
    stranger = next(others, None) if made(folder) else held
    if stranger is not None and stranger.startswith(ASIDE):
        raise FileExistsError(
            f"{folder} holds {stranger}, which a command that was killed had moved aside: move it "
            f"back or delete it, and run the command again."
        )
    if stranger is not None:
        raise FileExistsError(
            f"{folder} holds {stranger}, which `{kind.command}` did not write: nothing was "
            f"written. Give another folder."
        )
    if not force:
        raise FileExistsError(
            f"{folder} holds what `{kind.command}` wrote before: {kind.forced} replaces it as a "
            f"whole, or give another folder."
        )


def check_file(path: Path, kind: FileKind, force: bool = False) -> None:
    """Refuse an output file in one line, before any work; an empty one may be used.

    force: replace a file of a kind that cannot be told. Raises an OSError.
    """
    _check_place(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: expected the name of a file to write.")
    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return
    if not path.is_file():
        raise FileExistsError(f"{path} is no ordinary file: expected the name of one to write.")
    if kind.begins is None and not force:
        raise FileExistsError(f"{path} is there already: --force replaces it, or give another.")
    if kind.begins is not None and not begins(path, kind.begins):
        raise FileExistsError(
            f"{path} is there and is not {kind.what}: nothing was written. Give another name."
        )


def begins(path: Path, pattern: bytes) -> bool:
    """Whether an ordinary file begins at a pattern."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return re.match(pattern, stream.read(_HEAD), re.DOTALL) is not None


def check_link(path: Path) -> None:
    """Refuse to write where a link leads."""
    if path.is_symlink():
        raise FileExistsError(
            f"{path} is a link to {os.readlink(path)}: outputs are not written through links. "
            f"Name the place itself, or another."
        )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` for a file or a new folder, which then takes its place.

    It is renamed when all of it is on the disk, and removed on any error. It ends as `path` does,
    for writers that look at the suffix. A new folder replaces an old one in one step where the
    system can. What killed processes left in the folder is removed. Folders above that were made go
    again on any error.
    """
    temporary = path.with_name(unfinished(path.name))
    with _parents(path), _named(path, temporary):
        sweep_once(path.parent)
        yield temporary
        inner = any(map(is_unfinished, path.parts))  # then the outer block syncs
        if not inner:
            _sync(temporary)
        _replace(temporary, path)
        if not inner:
            _sync_names(path.parent)


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Makes the folders above; on any error those that are new and empty are removed."""
    new = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in new:
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Removes the temporary after the block; errors of the disk tell of the name that was given,
    also where a library made another error of them."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ or error.__context__
        of_disk = error if isinstance(error, OSError) else cause
        if not isinstance(of_disk, OSError) or of_disk.errno is None:
            raise
        told = str(of_disk.filename or path).replace(str(temporary), str(path))
        of_disk.filename = os.path.normpath(told)
        if of_disk is error:
            raise
        raise of_disk from None
    finally:
        with suppress(OSError):  # such as of a disk that became read-only
            remove(temporary)


@contextmanager
def filled(folder: Path, kind: FolderKind) -> Iterator[Path]:
    """A temporary folder to fill, whose entries then take the place of those in `folder`.

    On any error what was there stays as it was. Refuses what `check_folder` refuses. A folder that
    exists is not replaced itself: it may be another disk's.
    """
    check_folder(folder, kind, force=True)
    if not folder.exists():
        with whole(folder) as temporary:
            _begin(temporary, kind)
            yield temporary
        return
    temporary = folder / unfinished()
    with _named(folder, temporary):
        _begin(temporary, kind)
        yield temporary
        _sync(temporary)
        with alone(folder):
            _swap(temporary, folder, kind)


def mark(folder: Path, kind: FolderKind) -> None:
    """Note in a folder which command made it."""
    with whole(folder / MARK) as temporary:
        temporary.write_text(f"{kind.command}\n", encoding="utf-8")


def _begin(folder: Path, kind: FolderKind) -> None:
    folder.mkdir()
    if kind.made is None:
        mark(folder, kind)


def _swap(new: Path, folder: Path, kind: FolderKind) -> None:
    """The entries of `new` in place of the old ones; all back where one cannot be moved."""
    come = list(new.iterdir())
    aside = aside_of(new, len(come))
    kept = {name for name in kind.keeps if not is_unfinished(name)}
    stays = {new.name} | kept
    old = [p for p in folder.iterdir() if p.name not in stays and not is_being_written(p)]
    moves = [(path, aside / path.name) for path in old]
    moves += [(path, folder / path.name) for path in come]
    aside.mkdir()
    try:
        for source, target in moves:
            source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if target.exists() and not source.exists():
                target.rename(source)
        aside.rmdir()
        raise
    shutil.rmtree(aside)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Wait while another process is in such a block of a folder; False where the system has no such
    locks. Containers of one machine, and machines on one NFS, share them."""
    descriptor, alone = None, False
    with suppress(ImportError, OSError):
        from fcntl import LOCK_EX, flock

        descriptor = os.open(folder, os.O_RDONLY)
        flock(descriptor, LOCK_EX)
        alone = True
    try:
        yield alone
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _recover(folder: Path, locked: bool) -> None:
    """Undo a replacement that was killed before the first new entry came, else finish it.

    locked: within `alone`, so that no replacement is under way.
    """
    for aside in [path for path in folder.iterdir() if path.name.startswith(ASIDE)]:
        found = new_of(aside)
        if found is None or not found[0].is_dir() or (is_being_written(found[0]) and not locked):
            continue
        new, count = found
        came = len(os.listdir(new)) < count
        for path in list((new if came else aside).iterdir()):
            path.rename(folder / path.name)
        remove(aside)
        remove(new)


def _check_place(path: Path) -> None:
    """Refuse a link, a name below what is no folder, and a place where writing fails."""
    check_link(path)
    places = [path] if path.is_dir() else path.absolute().parents
    above = next(place for place in places if os.path.lexists(place))
    if not above.is_dir():
        raise NotADirectoryError(f"{path}: {above} is not a folder.")
    for place in {above, path.absolute().parent}:  # where replacements begin
        sweep_once(place)
    probe = above / unfinished("probe")
    try:
        probe.write_bytes(bytes(1 << 12))
    except PermissionError as error:
        raise PermissionError(f"{path}: the folder {above} cannot be written to.") from error
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            probe.unlink()


def _paths(folder: Path) -> Iterator[str]:
    """Relative paths of all files, links and empty folders in a folder; links are not followed.

    Raises PermissionError for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        here = Path(place).relative_to(folder)
        for name in sorted([*names, *links]):
            yield (here / name).as_posix()
        if not folders and not names and here.parts:
            yield here.as_posix()


def _replace(new: Path, path: Path) -> None:
    """`new` in the place of `path`; of two folders, `new` is the name of the old one afterwards."""
    if not (new.is_dir() and path.is_dir()):
        new.replace(path)
    elif not _exchange(new, path):
        aside = path.with_name(f"{ASIDE}{new.name.removeprefix(UNFINISHED)}")
        for source, target in ((path, aside), (new, path), (aside, new)):
            source.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, so that no kill comes between; False where that cannot be."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and (
        rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
    )


def _sync(path: Path) -> None:
    """Wait until a file, or all files of a folder, are on the disk."""
    for file in (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _sync_names(folder: Path) -> None:
    """Make a rename last; only POSIX lets a folder be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
