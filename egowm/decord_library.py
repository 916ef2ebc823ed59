"""decord, the fast reader of videos, where it is installed: loaded so that it harms no other."""

import ctypes
from importlib.util import find_spec
from typing import Any

import numpy as np

_FOR_ALL = ctypes.RTLD_GLOBAL


def has_decord() -> bool:
    """Whether it is installed."""
    return find_spec("decord") is not None


def load_decord() -> Any:
    """decord, its libraries kept to itself.

    It wants them to be seen by the whole process, and one of them is the zlib of 2005: OpenCV's and
    torchvision's PNG readers, if they come later, fail or crash on a mixture of that and their own.
    """
    ctypes.RTLD_GLOBAL = ctypes.RTLD_LOCAL  # type: ignore[misc]
    try:
        import decord
    finally:
        ctypes.RTLD_GLOBAL = _FOR_ALL  # type: ignore[misc]
    decord.logging.set_level(decord.logging.QUIET)  # damage is told by our own errors
    return decord


def decord_errors() -> tuple[type[Exception], ...]:
    """What decord raises."""
    from decord import _ffi

    return (_ffi.base.DECORDError, RuntimeError)


def array_of(batch: Any) -> np.ndarray:
    """decord's frames as an array without a copy, which its own `asnumpy` makes."""
    if not hasattr(batch, "to_dlpack"):  # another package set decord's bridge: a torch tensor
        return np.asarray(batch)
    from torch.utils.dlpack import from_dlpack

    return np.asarray(from_dlpack(batch.to_dlpack()))
