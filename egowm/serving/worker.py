"""A thread and a queue with a bound: who comes when it is full is told so."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

R = TypeVar("R")
Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]
TURN = 0.05  # seconds after which work that was let in asks again for a place


class Busy(Exception):
    """The queue is full."""


class Worker:
    """A thread that does job after job, in the order of asking.

    Args:
        limit: Jobs that may wait.
        name: What works there.
    """

    def __init__(self, limit: int, name: str = "model") -> None:
        self.name = name
        self._jobs: queue.Queue[Job | None] = queue.Queue(limit)
        # A daemon: a long job does not keep the process after the server has ended.
        self._thread = threading.Thread(target=self._work, name=f"egowm-{name}", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], R], begun: bool = False) -> R:
        """What a job returns, or raises. One whose asker has gone before it began is left out.

        Args:
            job: What the thread is to do.
            begun: It goes on with work that was let in, and waits for its turn.

        Raises:
            Busy: As many wait as may.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        while True:
            try:
                self._jobs.put_nowait((job, loop, future))
                return await future
            except queue.Full:
                if not begun:
                    raise Busy(f"The {self.name} is busy: try again later.") from None
            await asyncio.sleep(TURN)

    def stop(self, seconds: float = 2.0) -> None:
        """Take no further job; the one at hand is waited for a moment."""
        with suppress(queue.Full):
            self._jobs.put_nowait(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, loop, future = item
            if future.cancelled():
                continue
            value: Any = None
            fault: BaseException | None = None
            try:
                value = job()
            except BaseException as error:
                fault = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_tell, future, value, fault)
            del job, future, item, value, fault  # or a walk would live until the next job


def _tell(future: "asyncio.Future[Any]", value: Any, fault: BaseException | None) -> None:
    if future.done():
        return
    if fault is None:
        future.set_result(value)
    else:
        future.set_exception(fault)
