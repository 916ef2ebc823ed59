"""Signals that end a launch: Ctrl-C, SIGTERM, a terminal that closes. No worker outlives it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 143
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Interruptions:
    """The first signal is raised while the launch waits for its workers, and only then.

    Before, one may have been started that nobody has noted yet; afterwards they are being ended. A
    signal that comes then is kept for the end, and each one after the first calls `kill`.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self.came: int | None = None
        self._kill, self._waits = kill, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.came is not None:
            self._kill()
            return
        self.came = number
        if self._waits:
            self.check()

    def check(self) -> None:
        """Raise what came."""
        if self.came == signal.SIGINT:
            raise KeyboardInterrupt
        if self.came is not None:
            raise SystemExit(TERMINATED)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """While the launch waits for its workers."""
        self._waits = True
        try:
            self.check()
            yield
        finally:
            self._waits = False


@contextmanager
def held(kill: Callable[[], None]) -> Iterator[Interruptions]:
    """Take the signals within the block; what came and was not raised is raised after it.

    What is ignored, as by nohup, stays so.
    """
    found = Interruptions(kill)
    before = {number: signal.signal(number, found) for number in _taken()}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    found.check()


@contextmanager
def from_children() -> Iterator[None]:
    """Keep signals from programs that the block starts, which a terminal would send them, too;
    this process gets them after it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _taken())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _taken() -> list[int]:
    """None but in the main thread; not what is ignored, nor what Python did not set (None)."""
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]
    return [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]
