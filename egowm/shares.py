"""Shares of work: the I-th of N parts, which processes make without waiting for each other."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")
Share = tuple[int, int]  # the i-th of n, from 1
ALL: Share = (1, 1)


def share_of(text: str) -> Share:
    """The share that `--shard I/N` names, with I from 1 to N.

    >>> share_of("2/8")
    (2, 8)
    """
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ValueError(f"--shard: expected i/n such as 1/4, with i from 1 to n, got {text!r}.")
    return int(first), int(count)


def items_of(share: Share, items: Sequence[Item]) -> Sequence[Item]:
    """Every n-th item from the i-th on: neighbours, which often take equally long, are spread.

    >>> items_of((2, 3), "abcdefg")
    'be'
    """
    first, count = share
    return items[first - 1 :: count]
