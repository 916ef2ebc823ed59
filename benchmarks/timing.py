"""Two ways of doing one thing, timed in turns, so that a slow moment of the machine hits both."""

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

Run = Callable[[], Tensor]
MIN_SECONDS = 1.0  # a run shorter than this is repeated within each timing


class Timing(NamedTuple):
    """Ratios are theirs / ours, pair by pair: above 1, ours is faster. Seconds are medians."""

    ratio_median: float
    ratio_min: float
    ratio_max: float
    seconds_ours: float
    seconds_theirs: float
    repeats: int
    calls: int  # of each run within one timing


def check_same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    """Raises ValueError unless both made the same frames (..., 3, H, W) in [0, 1]."""
    if ours.shape != theirs.shape:
        raise ValueError(f"Not timed: shapes {tuple(ours.shape)} and {tuple(theirs.shape)} differ.")
    difference = (ours.float() - theirs.float()).abs().max().item()
    if not difference <= tolerance:
        raise ValueError(
            f"Not timed: the frames differ by up to {difference:.2g}, expected at most "
            f"{tolerance:g}: both sides must do the same work."
        )
    if theirs.float().std() < 1e-3:
        raise ValueError("Not timed: the frames are constant, so that they agree proves nothing.")


def seconds(run: Run, calls: int = 1) -> float:
    """Seconds of one call of `run`, the mean of `calls`; a GPU is waited for."""
    gc.collect()
    _synchronise()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _synchronise()
    return (time.perf_counter() - start) / calls


def take_turns(runs: Mapping[str, Run], rounds: int, calls: int = 1) -> dict[str, list[float]]:
    """Seconds of each run in each round, one after the other; every other round goes backwards.

    All must have been warmed up.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for k in tqdm(range(rounds), "rounds", leave=False):
        for name in runs if k % 2 == 0 else reversed(list(runs)):
            taken[name].append(seconds(runs[name], calls))
    return taken


def compare(ours: Run, theirs: Run, repeats: int) -> Timing:
    """`repeats` pairs in alternating order; both must have been warmed up. A single pair, which
    only shows that both run, is one call of each."""
    calls = max(1, round(MIN_SECONDS / max(seconds(theirs), 1e-9))) if repeats > 1 else 1
    mine, other = take_turns({"ours": ours, "theirs": theirs}, repeats, calls).values()
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    ends = median(ratios), min(ratios), max(ratios)
    return Timing(*ends, median(mine), median(other), repeats, calls)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
