"""What recorded times say: the rate of frames, and where a recording has holes."""

from collections.abc import Iterable

import numpy as np

GAP = 2.5  # median spacings between two frames, beyond which something is missing


def time_column(header: Iterable[str], name: str) -> str | None:
    """The column of times: called `name`, or the only one that is so but for its capitals.

    >>> time_column(["Frame", "Time"], "time")
    'Time'
    """
    same = alike(header, name)
    return name if name in same else same[0] if len(same) == 1 else None


def alike(header: Iterable[str], name: str) -> list[str]:
    """The columns that are called so but for their capitals."""
    return [column for column in header if column.lower() == name.lower()]


def rate_of(times: np.ndarray) -> float | None:
    """Frames a second by their times (N,), holes left out; None where they do not rise.

    The mean of the spacings: a clock of whole milliseconds has 33 and 34 of them, never 33.3.
    """
    steps = np.diff(times)
    middle = float(np.median(steps)) if len(steps) else 0.0
    if not middle > 0:
        return None
    return round(1 / float(steps[(steps > 0) & (steps <= GAP * middle)].mean()), 3)


def breaks(times: np.ndarray, max_gap_s: float | None) -> np.ndarray:
    """The frames that begin anew after a hole: longer than `max_gap_s`, or `GAP` median spacings
    where that is None."""
    steps = np.diff(times)
    if not len(steps):
        return np.zeros(0, np.int64)
    longest = GAP * float(np.median(steps)) if max_gap_s is None else max_gap_s
    return np.flatnonzero(steps > longest) + 1 if longest > 0 else np.zeros(0, np.int64)


def surrounded(times: np.ndarray, measured: np.ndarray, max_gap_s: float) -> np.ndarray:
    """Which times (N,) lie between two measurements at most `max_gap_s` apart."""
    after = np.searchsorted(measured, times, side="right")
    inner = (after > 0) & (after < len(measured))
    low, high = np.clip(after - 1, 0, None), np.clip(after, None, len(measured) - 1)
    return inner & (measured[high] - measured[low] <= max_gap_s)
