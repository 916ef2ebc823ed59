"""Whether a video file ends before its container says: then it was cut, or is still written."""

import os
from pathlib import Path
from typing import IO

_UNKNOWN = (0, 0xFFFFFFFF)  # lengths of an AVI whose writer could not go back
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST = 10_000  # parts that are looked at


def check_end(file: Path) -> None:
    """Refuse a file that lacks its end, whichever frames it still shows."""
    claimed, length = claimed_length(file), file.stat().st_size
    if claimed > length:
        raise ValueError(
            f"{file}: cut short, or still being written: it says that it has {claimed:,} bytes, "
            f"{length:,} are there. Write it again."
        )


def claimed_length(file: Path) -> int:
    """Bytes that MP4, MOV, Matroska, WebM and AVI files say they have; 0 where they do not say."""
    with file.open("rb") as stream:
        start = stream.read(12)
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _of_boxes(stream, os.fstat(stream.fileno()).st_size)
        if start[:4] == b"RIFF":
            length = int.from_bytes(start[4:8], "little")
            return 0 if length in _UNKNOWN else length + 8
        return _of_matroska(stream) if start[:4] == _EBML else 0


def _of_boxes(stream: IO[bytes], length: int) -> int:
    """Where the last box ends that begins within the file."""
    at = 0
    for _ in range(_MOST):
        if at >= length:
            break
        stream.seek(at)
        head = stream.read(16)
        size = int.from_bytes(head[:4])
        if size == 0 or not head[4:8].isascii():  # as far as the file; no box
            return length
        if size == 1:
            size = int.from_bytes(head[8:16])
        at += max(size, 8)
    return at


def _of_matroska(stream: IO[bytes]) -> int:
    """Where the segment ends."""
    stream.seek(4)
    header = _number(stream)
    stream.seek(header or 0, os.SEEK_CUR)
    if header is None or stream.read(4) != _SEGMENT:
        return 0
    size = _number(stream)
    return 0 if size is None else stream.tell() + size


def _number(stream: IO[bytes]) -> int | None:
    """A length of Matroska, of one to eight bytes; None where it is unknown."""
    first = stream.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ 1 << (7 - more)]) + stream.read(more))
    return None if value == (1 << 7 * (more + 1)) - 1 else value
