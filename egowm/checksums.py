"""Checksums of the files in a folder, as the command sha256sum writes them: `SHA256SUMS`.

`sha256sum -c SHA256SUMS` in the folder says the same. A reader compares each file once in its
process; folders of before, without the sums, are read as they are.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from egowm.files import whole
from egowm.limits import ordinary

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


def sum_of(file: Path) -> str:
    """The sha256 of an ordinary file's bytes, as hex digits."""
    ordinary(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Keep the sums of files, by their names within the folder."""
    lines = [f"{value}  {name}\n" for name, value in sums.items()]
    with whole(folder / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def read_sums(folder: Path) -> dict[str, str]:
    """The sums that `write_sums` kept; ValueError names a line that is not one."""
    sums = {}
    text = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if not match:
            place = f"{folder / SUMS}: line {number}"
            raise ValueError(f"{place}: expected a sha256 and a file's name.")
        sums[match[2]] = match[1]
    return sums


def is_changed(folder: Path, name: str) -> bool:
    """Whether a file of the folder differs from its sum; False where the folder has none of it."""
    about = ordinary(folder / name)
    # text is compared faster than a path, and this is asked for every clip
    return _is_changed(str(folder), name, about.st_mtime_ns, about.st_size)


@cache
def _is_changed(folder: str, name: str, changed: int, size: int) -> bool:
    try:
        known = _sums(Path(folder), Path(folder, SUMS).stat().st_mtime_ns).get(name)
    except FileNotFoundError:
        return False
    return known is not None and sum_of(Path(folder, name)) != known


@lru_cache(maxsize=8)
def _sums(folder: Path, changed: int) -> dict[str, str]:
    return read_sums(folder)
