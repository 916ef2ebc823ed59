"""Seconds a frame and peak memory of rollouts, on a GPU or a CPU."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import torch


class Stopwatch:
    """Times the rollouts of one row.

    device: where the model runs. Memory is what torch held at most on a GPU while the rollouts ran;
    on a CPU the most that the process had until then, which includes the model and the data.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []  # a frame, of each batch
        self.peak = 0  # bytes

    @contextmanager
    def rollout(self, frames: int) -> Iterator[None]:
        """Around a rollout of so many frames, those of all clips of a batch."""
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        started = time.perf_counter()
        yield
        if on_gpu:
            torch.cuda.synchronize(self.device)
        self.seconds.append((time.perf_counter() - started) / frames)
        held = torch.cuda.max_memory_allocated(self.device) if on_gpu else process_peak()
        self.peak = max(self.peak, held)

    @property
    def seconds_per_frame(self) -> float | None:
        """The median over batches, without the first one where there are others."""
        return median(self.seconds[1:] or self.seconds) if self.seconds else None


def process_peak() -> int:
    """The most main memory that this process has had, in bytes; 0 where the system does not say."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return 0
    most = getrusage(RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
