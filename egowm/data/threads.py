"""The same work on many files at once."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str, progress: bool
) -> list[Result]:
    """What `work` returns for each item, in their order; an error stops the rest.

    workers: number of threads, 0: one a core, at most 8. title: of the progress bar.
    """
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(work, item) for item in items]
        try:
            return [job.result() for job in tqdm(jobs, title, disable=not progress)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
