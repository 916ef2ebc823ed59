"""What a file holds may be anything: whatever reading it raises becomes one line that names it."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def readable(path: Path, expected: str) -> Iterator[None]:
    """The block that reads a file, and nothing besides.

    Args:
        path: the file, or the folder of the files.
        expected: what it should be.

    Raises ValueError; errors of the system, and those that name the file already, as they are.
    """
    kind = path.stat().st_mode if path.exists() else stat.S_IFREG
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # a pipe is waited for, a device has no end
        raise ValueError(f"{path}: expected {expected}, an ordinary file; it is none")
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if isinstance(error, ValueError) and str(path) in said:
            raise
        raise ValueError(
            f"{path}: expected {expected}; {type(error).__name__}: {said[:300]}"
        ) from error
