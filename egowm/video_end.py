"""Whether a video file is as long as its container says, and a Matroska's parts follow each other.

A file that ends before it says so was cut, or is still written.
"""

import os
from pathlib import Path
from typing import IO

_UNKNOWN = (0, 0xFFFFFFFF)  # lengths of an AVI whose writer could not go back
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_CLUSTER = b"\x1f\x43\xb6\x75"
# what may lie beside a cluster and in it, by the bytes of its name; all else is damage
_BESIDE = "114d9b74 1549a966 1654ae6b 1c53bb6b 1941a469 1043a770 1254c367"
_KNOWN = {bytes.fromhex(name) for name in f"{_BESIDE} e7 a7 ab 5854 a3 a0 af ec bf".split()}
_AT_ONCE = 1 << 20  # bytes
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
    size = _segment(stream)
    return stream.tell() + size if size else 0


def broken_places(file: Path) -> list[int]:
    """The bytes of a Matroska file at which a part should begin and none does, in order."""
    places: list[int] = []
    with file.open("rb") as stream:
        end, size = os.fstat(stream.fileno()).st_size, _segment(stream)
        at = 0 if size is None else stream.tell()
        end = min(end, at + size) if size else end  # nobody reads what lies behind
        while 0 < at < end:
            stream.seek(at)
            size = _part(stream)
            if size is None:
                places.append(at)
                at = _next_cluster(stream, at)
            else:
                at = stream.tell() + size
    return places


def _segment(stream: IO[bytes]) -> int | None:
    """The length of what follows a Matroska's header, 0 where it is unknown; None without one."""
    stream.seek(4)
    stream.seek(_number(stream) or 0, os.SEEK_CUR)
    return (_number(stream) or 0) if stream.read(4) == _SEGMENT else None


def _part(stream: IO[bytes]) -> int | None:
    """The length of a part after its head, 0 for a cluster, whose parts come next; None for what is
    no part."""
    name = stream.read(1)
    name += stream.read(8 - name[0].bit_length())
    size = _number(stream)
    if name == _CLUSTER:
        return 0
    return size if name in _KNOWN else None


def _next_cluster(stream: IO[bytes], at: int) -> int:
    """Where the next one begins, as a reader searches it after damage; -1 where none does."""
    stream.seek(at + 1)
    at, data = at + 1, b""
    while more := stream.read(_AT_ONCE):
        data = data[-3:] + more
        if (found := data.find(_CLUSTER)) >= 0:
            return stream.tell() - len(data) + found
    return -1


def _number(stream: IO[bytes]) -> int | None:
    """A length of Matroska, of one to eight bytes; None where it is unknown."""
    first = stream.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ 1 << (7 - more)]) + stream.read(more))
    return None if value == (1 << 7 * (more + 1)) - 1 else value
