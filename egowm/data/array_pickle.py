"""Pickles that hold NumPy arrays in builtin containers, read without running anything else.

A pickle is a program: whatever callable it names, loading calls. Here only the functions that
rebuild an array can be named; any other name is refused before it is imported.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric


def read_array_pickle(file: Path) -> Any:
    """The content of a pickle; ValueError names the file and what is refused in it.

    Pickles of NumPy 1 and 2 are read, and those that Python 2 wrote.
    """
    try:
        with file.open("rb") as stream:
            return _ArrayUnpickler(stream, encoding="latin1").load()
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged stream can fail in any opcode, each in its own way
        raise ValueError(f"{file}: cannot be read ({error or type(error).__name__})") from error


def _encode(text: str, encoding: str) -> bytes:
    """How pickles of protocol 2 and older spell bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"expected bytes as latin1, got {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
for _package in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _ADMITTED[f"{_package}.multiarray", "_reconstruct"] = multiarray._reconstruct  # type: ignore[attr-defined]
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
