"""Pickles that hold NumPy arrays in builtin containers, read without running anything else.

A pickle is a program: whatever callable it names, loading calls. Here only the functions that
rebuild an array can be named; any other name is refused before it is imported.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric

from egowm.limits import read_bytes


def read_array_pickle(file: Path) -> Any:
    """The content of a pickle; ValueError names the file and what is refused in it.

    Pickles of NumPy 1 and 2 are read, and those that Python 2 wrote.
    """
    data = read_bytes(file)
    try:
        _check_places(data)
        return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged stream can fail in any opcode, each in its own way
        raise ValueError(f"{file}: cannot be read ({error or type(error).__name__})") from error


def _check_places(data: bytes) -> None:
    """Refuse numbers of memory places beyond the length: room is made for all up to the highest."""
    for operation, place, _ in pickletools.genops(data):
        if operation.name.endswith("PUT") and int(place or 0) > len(data):
            raise pickle.UnpicklingError(f"it asks for {place:,} places of memory")


class _Array:
    """What pickles call numpy.ndarray: named, never called, as that would make any shape."""


def _reconstruct(kind: type, shape: Any, code: Any) -> Any:
    """An array without values, to which a pickle then gives them with their shape."""
    if kind is not _Array:
        raise pickle.UnpicklingError("it makes an array of another class")
    made: Any = multiarray._reconstruct(np.ndarray, (0,), b"b")  # type: ignore[attr-defined]
    return made


def _encode(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 and older spell bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"expected bytes as latin1, got {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
for _package in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _ADMITTED[f"{_package}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_package}.multiarray", "scalar"] = multiarray.scalar  # type: ignore[attr-defined]
    _ADMITTED[f"{_package}.numeric", "_frombuffer"] = numeric._frombuffer  # type: ignore[attr-defined]
for _container in (dict, list, tuple, set, frozenset):
    for _package in ("builtins", "__builtin__"):  # Python 3 and 2
        _ADMITTED[_package, _container.__name__] = _container


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, and only NumPy arrays and builtin containers are "
                f"read; nothing of it was run"
            )
        return _ADMITTED[module, name]
