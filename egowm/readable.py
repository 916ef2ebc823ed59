"""What a file holds may be anything: whatever reading it raises becomes one line that names it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from egowm.limits import TooLarge, ordinary


@contextmanager
def readable(path: Path, expected: str) -> Iterator[None]:
    """The block that reads a file, and nothing besides.

    Args:
        path: the file, or the folder of the files.
        expected: what it should be.

    Raises ValueError; errors of the system, and those that name the file already, as they are.
    """
    if path.exists() and not path.is_dir():
        ordinary(path)
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


class Damaged(ValueError):
    """A file or folder that cannot be read, in one line."""


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """The block in which diffusers and transformers read `path`.

    Errors of the system too become one line that says to copy the file or folder again, for that
    is how these libraries tell of most damage. What they warn of is told by that line, or no fault.
    """
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except (MemoryError, Damaged, TooLarge):
        raise
    except Exception as error:  # a library raises what it likes
        reason = shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        raise Damaged(f"{path} cannot be read ({reason}): copy it again, as a whole.") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
