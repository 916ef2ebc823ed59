"""Work beside the caller: one piece at a time, in a thread with the caller's modes of torch."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import RLock
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

P = ParamSpec("P")
R = TypeVar("R")
_TURNS: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()


class Start(Protocol):
    """Starts a call; its result comes later."""

    def __call__(
        self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Future[R]": ...


@contextmanager
def beside(device: torch.device) -> Iterator[Start]:
    """A block in which calls are started beside it; at its end the one that runs is waited for.

    Gradients and autocast are those of the moment at which a call is started: torch keeps them by
    thread.

    >>> with beside(torch.device("cpu")) as start, torch.no_grad():
    ...     int(start(torch.is_grad_enabled).result())
    0
    """
    worker = ThreadPoolExecutor(1, "egowm-beside")

    def start(call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        kind, gradient = device.type, torch.is_grad_enabled()
        casts, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

        def run() -> R:
            with torch.set_grad_enabled(gradient), torch.autocast(kind, dtype, enabled=casts):
                return call(*args, **kwargs)

        return worker.submit(run)

    try:
        yield start
    finally:
        worker.shutdown(cancel_futures=True)


def turn(network: nn.Module) -> RLock:
    """Held while a network is called: it is conditioned by hooks, on one thing at a time.

    >>> with turn(nn.Identity()) as held:
    ...     int(held)
    1
    """
    return _TURNS.setdefault(network, RLock())
