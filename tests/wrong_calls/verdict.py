"""What came of a wrong call: a result that means something, an error in words, or a fault."""

import dis
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

SECONDS = 3.0  # of this process, so that others on the machine do not count
MEMORY = 3 << 30  # bytes above what the process has
RAISE = dis.opmap["RAISE_VARARGS"]
WORKS, REFUSED = "works", "refused"
ROOT = Path(__file__).resolve().parents[2]
OURS = (str(ROOT / "egowm"), str(ROOT / "tests/backbones"))  # the backbone of the models here


class Hang(BaseException):
    """The call took too long; no `except Exception` catches it."""


def verdict(
    call: Callable[[], Any], refused: bool, means: Callable[[Any], bool], finite: bool = True
) -> str:
    """`WORKS`, `REFUSED`, or the fault in words.

    Args:
        call: the wrong call.
        refused: whether a result would be a fault, since the call can mean nothing.
        finite: whether its numbers must be.
        means: of a result, whether it is what the call should have given.
    """
    try:
        with _limits():
            result = call()
    except Hang:
        return f"hang: not done after {SECONDS:g} s"
    except (ValueError, TypeError, OSError) as error:
        return _judged(error)
    except Exception as error:  # everything else is a fault
        return f"{type(error).__name__} {_place(error.__traceback__)}: {_line(error)}"
    if refused:
        return "silent: a result, of what can mean nothing"
    if finite and not _finite(result):
        return "silent: a result that is not finite"
    try:
        as_asked = means(result)
    except Exception as error:
        return f"silent: a result that cannot be told ({_line(error)})"
    return WORKS if as_asked else "silent: a result of another shape than was asked for"


def _judged(error: Exception) -> str:
    """An error counts as words where a `raise` of egowm raised it and names what came."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    assert last is not None
    code = last.tb_frame.f_code
    raised = code.co_code[last.tb_lasti] == RAISE
    if raised and code.co_filename.startswith(OURS) and len(_line(error)) > 20:
        return REFUSED
    if isinstance(error, OSError) and error.filename is not None:
        return REFUSED  # a path that is not there: the message names it
    return f"{type(error).__name__} {_place(error.__traceback__)}: {_line(error)}"


def _place(trace: TracebackType | None) -> str:
    """The innermost frame: a file and a line."""
    place = "?"
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        place = f"{'/'.join(Path(name).parts[-3:])}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _finite(result: Any) -> bool:
    """Whether every number in a result is finite; records and sequences are looked into."""
    if isinstance(result, Tensor):
        return not result.is_meta and bool(torch.isfinite(result.detach()).all())
    if isinstance(result, np.ndarray) and result.dtype.kind in "fc":
        return bool(np.isfinite(result).all())
    if isinstance(result, float):
        return bool(np.isfinite(result))
    if isinstance(result, Mapping):
        return all(map(_finite, result.values()))
    if isinstance(result, list | tuple):
        return all(map(_finite, result))
    if is_dataclass(result) and not isinstance(result, type):
        return all(_finite(getattr(result, field.name)) for field in fields(result))
    return True


@contextmanager
def _limits() -> Iterator[None]:
    """A time, and a memory beyond which an allocation fails in place of filling the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    before = signal.signal(signal.SIGVTALRM, _stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def _stop(number: int, frame: Any) -> None:
    raise Hang
