"""Checksums of a pack's frames: written while it is packed, compared by `egowm data check`.

Loading a pack compares lengths only, which costs nothing. `SHA256SUMS` is written as the command
sha256sum writes it, so `sha256sum -c SHA256SUMS` in the pack's folder says the same.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from egowm.data.inspect.findings import Finding
from egowm.data.packed import Packed, frames_name
from egowm.data.threads import in_threads
from egowm.files import whole

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


def sum_of(file: Path) -> str:
    """The sha256 of a file's bytes, as hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_sums(pack: Path, sums: Mapping[str, str]) -> None:
    """Keep the sums of files, by their names within the pack."""
    lines = [f"{value}  {name}\n" for name, value in sums.items()]
    with whole(pack / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def read_sums(pack: Path) -> dict[str, str]:
    """The sums that `write_sums` kept; ValueError names a line that is not one."""
    sums = {}
    text = (pack / SUMS).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"{pack / SUMS}: line {number}: expected a sha256 and a file's name.")
        sums[match[2]] = match[1]
    return sums


def sum_findings(data: Packed, workers: int, progress: bool) -> list[Finding]:
    """Frames that changed since they were packed. workers: threads, 0: one a core, at most 8."""
    try:
        sums = read_sums(data.folder)
    except FileNotFoundError:
        text = f"{data.folder / SUMS} is missing: frames are not compared with what was packed"
        return [Finding("warning", "checksum", "", text)]
    except ValueError as error:
        return [Finding("error", "checksum", "", str(error))]
    names = [row["name"] for row in data.index["episodes"]]
    files = [f"frames-{data.index['key']}/{frames_name(k)}" for k in range(len(names))]
    now = in_threads(
        lambda name: sum_of(data.folder / name), files, workers, "comparing checksums", progress
    )
    changed = [k for k, value in enumerate(now) if sums.get(files[k]) != value]
    if not changed:
        text = f"the frames of all {len(files)} episodes are those that were packed"
        return [Finding("note", "checksum", "", text)]
    advice = "copy the pack again, or delete the file and pack again"
    return [
        Finding("error", "checksum", names[k], f"{files[k]}: changed since it was packed; {advice}")
        for k in changed
    ]
