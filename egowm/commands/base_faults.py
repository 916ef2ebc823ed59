"""Faults of a base that show only when its parts are used together."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten

from egowm.commands.main import explain


@contextmanager
def naming(base: str) -> Iterator[None]:
    """Inside, what the libraries say of parts that do not fit becomes one line with their base."""
    tracing = logging.getLogger("torch._subclasses.fake_tensor")
    level = tracing.level
    tracing.setLevel(logging.CRITICAL)  # it prints the traceback of what it raises
    try:
        yield
    except Exception as error:
        if explain(error) is not None:
            raise
        reason = shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        raise ValueError(
            f"{base}: the parts cannot be used together ({reason}): copy the base again, as a "
            f"whole (EGOWM_DEBUG=1 prints the traceback)."
        ) from error
    finally:
        tracing.setLevel(level)
