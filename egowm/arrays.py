"""NumPy's files, read whole: claims are compared with what is there, values with checksums.

NumPy's own reader takes memory for any shape that a header claims, and stops before the end of a
member of an npz, where the checksum of the zip format is looked at: damage is believed.
"""

import math
from collections.abc import Collection
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from egowm.limits import BYTES, TooLarge, admit, ordinary

_AT_ONCE = 1 << 20  # bytes
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(file: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz by name, of `names` those that it holds.

    Raises FileNotFoundError, TooLarge, ValueError for a file that is damaged or cut.
    """
    ordinary(file)
    try:
        with ZipFile(file) as archive:
            held = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            chosen = {k: member for k, member in held.items() if names is None or k in names}
            admit(file, sum(member.file_size for member in chosen.values()), "bytes", BYTES)
            found = {}
            for name, member in chosen.items():
                if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                    raise BadZipFile("a compression that NumPy does not write")
                with archive.open(member) as stream:
                    found[name] = _values(stream, member.file_size)
            return found
    except (TooLarge, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise what their parsers raise
        what = str(error) or type(error).__name__
        raise ValueError(f"{file}: not a readable npz, corrupt or cut short ({what}).") from error


def read_npy(file: Path) -> np.ndarray:
    """The array of an npy file. Raises FileNotFoundError, TooLarge, ValueError."""
    length = ordinary(file).st_size
    admit(file, length, "bytes", BYTES)
    try:
        with file.open("rb") as stream:
            return _values(stream, length)
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise ValueError(f"{file}: not a readable npy, corrupt or cut short ({error}).") from error


def _values(stream: IO[bytes], length: int) -> np.ndarray:
    """An array of exactly `length` bytes with its header; the end of the stream is read, too."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of npy")
    shape, is_transposed, dtype = _HEADERS[version](stream)
    needed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or stream.tell() + needed != length:
        raise ValueError(
            f"its header claims {dtype} {shape}, {needed:,} bytes, after which {length:,} are there"
        )
    out, at = np.empty(needed, np.uint8), 0
    while part := stream.read(_AT_ONCE):
        out[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    if at != needed:
        raise EOFError(f"{at:,} of {needed:,} bytes")
    values = out.view(dtype) if needed else np.empty(0, dtype)
    return values.reshape(shape, order="F" if is_transposed else "C")
