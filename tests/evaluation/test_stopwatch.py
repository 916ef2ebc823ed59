"""Times of rollouts: per frame, without the first batch, and what memory was held."""

import time

import pytest
import torch

from egowm.evaluation.stopwatch import Stopwatch, process_peak


def test_the_first_batch_does_not_count(monkeypatch):
    """Batches of 4 frames that take 40, 8, 4 and 6 seconds."""
    ticks = iter([0, 40, 100, 108, 200, 204, 300, 306])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    watch = Stopwatch(torch.device("cpu"))
    assert watch.seconds_per_frame is None
    for expected in (10.0, 2.0, 1.5, 1.5):
        with watch.rollout(4):
            pass
        assert watch.seconds_per_frame == pytest.approx(expected)


def test_memory_is_that_of_the_process_on_a_cpu():
    watch = Stopwatch(torch.device("cpu"))
    with watch.rollout(1):
        pass
    assert 10 << 20 < watch.peak <= process_peak()
