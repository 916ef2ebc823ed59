"""H.264 recordings for tests, without an encoder: blocks are stored as they are ("I_PCM").

Any player decodes them, exactly but for the colours' rounding. A key frame comes every `GROUP`
frames; the others lean on the one before in the headers only. Clauses are those of ITU-T H.264.
"""

import re
import struct
from pathlib import Path

import cv2
import numpy as np

GROUP = 12


def write_h264(path: Path, frames: np.ndarray, fps: int) -> None:
    """Write frames (n, H, W, 3) uint8, sides whole blocks of 16 pixels, as an mp4 of H.264."""
    height, width = frames.shape[1:3]
    assert height % 16 == width % 16 == 0, f"{width}x{height}"
    units = [_slice(k, blocks) for k, blocks in enumerate(map(_blocks, frames))]
    samples = [struct.pack(">I", len(unit)) + unit for unit in units]
    parameters = (_sequence(width // 16, height // 16), _picture())
    head = _box(b"ftyp", b"isom\0\0\2\0isomavc1")
    movie = _movie(samples, parameters, width, height, fps, len(head) + 8)
    path.write_bytes(head + _box(b"mdat", b"".join(samples)) + movie)


def _blocks(frame: np.ndarray) -> list[bytes]:
    """The blocks of a frame, each 256 bytes of Y, 64 of U, 64 of V."""
    height, width = frame.shape[:2]
    planes = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2YUV_I420).reshape(-1)
    y, u, v = np.split(planes, [height * width, height * width * 5 // 4])
    parts = []
    for plane, size in ((y, 16), (u, 8), (v, 8)):
        cut = plane.reshape(height // 16, size, width // 16, size).swapaxes(1, 2)
        parts.append(cut.reshape(-1, size * size))
    return [block.tobytes() for block in np.concatenate(parts, 1)]


def _number(value: int) -> str:
    """An unsigned Exp-Golomb code (9.1), as a text of bits."""
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


def _packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _unit(kind: int, content: bytes) -> bytes:
    """A NAL unit (7.3.1): no three bytes in it look like a start code."""
    return bytes([kind]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", content)


def _sequence(columns: int, rows: int) -> bytes:
    """Sequence parameters (7.3.2.1.1): baseline, pictures in coded order, one reference."""
    size = _number(columns - 1) + _number(rows - 1)
    bits = _number(0) + _number(0) + _number(2) + _number(1) + "0" + size + "1100"
    return _unit(0x67, bytes([66, 0xC0, 40]) + _packed(bits + "1"))


def _picture() -> bytes:
    """Picture parameters (7.3.2.2); slices say themselves that nothing is smoothed."""
    bits = _number(0) * 2 + "00" + _number(0) * 3 + "000" + _number(0) * 3 + "100"
    return _unit(0x68, _packed(bits + "1"))


def _slice(index: int, blocks: list[bytes]) -> bytes:
    """One frame (7.3.3)."""
    key, place = index % GROUP == 0, index % GROUP
    head = _number(0) + _number(7 if key else 5) + _number(0) + f"{place:04b}"
    head += _number(index // GROUP % 2) + "00" if key else "000"
    head += _number(0) + _number(1)
    start = _number(25) if key else _number(0) + _number(30)  # after P: no block is skipped
    first = _packed(head + start)
    between = _packed(start)
    return _unit(0x65 if key else 0x61, first + between.join(blocks) + b"\x80")


def _box(name: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", len(data) + 8) + name + data


def _table(name: bytes, *rows: tuple[int, ...]) -> bytes:
    """A box of 32-bit numbers, with how many rows they are."""
    numbers = [number for row in rows for number in row]
    return _box(name, struct.pack(f">II{len(numbers)}I", 0, len(rows), *numbers))


def _movie(
    samples: list[bytes],
    parameters: tuple[bytes, bytes],
    width: int,
    height: int,
    fps: int,
    start: int,
) -> bytes:
    """The index (ISO 14496-12, 14496-15): one track, all samples in one chunk from `start` on."""
    count = len(samples)
    one = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    sequence, picture = (struct.pack(">H", len(p)) + p for p in parameters)
    config = b"\1" + parameters[0][1:4] + b"\xff\xe1" + sequence + b"\1" + picture
    sizes = struct.pack(">HHIII", width, height, 0x480000, 0x480000, 0)
    entry = bytes(6) + b"\0\1" + bytes(16) + sizes + b"\0\1" + bytes(32) + b"\0\x18\xff\xff"
    described = _box(b"avc1", entry, _box(b"avcC", config))
    index = _box(
        b"stbl",
        _box(b"stsd", struct.pack(">II", 0, 1), described),
        _table(b"stts", (count, 1)),
        _table(b"stss", *((k + 1,) for k in range(0, count, GROUP))),
        _table(b"stsc", (1, count, 1)),
        _box(b"stsz", struct.pack(f">III{count}I", 0, 0, count, *map(len, samples))),
        _table(b"stco", (start,)),
    )
    times = struct.pack(">5I", 0, 0, 0, fps, count)
    media = _box(
        b"mdia",
        _box(b"mdhd", times, b"\x55\xc4\0\0"),
        _box(b"hdlr", bytes(8), b"vide", bytes(13)),
        _box(
            b"minf",
            _box(b"vmhd", b"\0\0\0\1", bytes(8)),
            _box(b"dinf", _box(b"dref", struct.pack(">II", 0, 1), _box(b"url ", b"\0\0\0\1"))),
            index,
        ),
    )
    track = struct.pack(">6I", 7, 0, 0, 1, 0, count) + bytes(16) + one
    shape = struct.pack(">II", width << 16, height << 16)
    whole = times + struct.pack(">IHHII", 0x10000, 0x100, 0, 0, 0) + one + bytes(24)
    return _box(
        b"moov",
        _box(b"mvhd", whole + struct.pack(">I", 2)),
        _box(b"trak", _box(b"tkhd", track, shape), media),
    )
