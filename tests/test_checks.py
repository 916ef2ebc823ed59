"""What annotations admit, and in which words the rest is refused."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from egowm.checks import ArgumentError, check_between, check_shape, checked

NAN = float("nan")


class Place(NamedTuple):
    x: float
    name: str = ""


CASES: list[tuple[object, list[object], list[object], str]] = [
    (int, [3, np.int64(3)], [True, 3.0, "3", None, torch.tensor(3)], "a whole number"),
    (float, [3, 0.5, np.float32(1), float("inf")], [NAN, True, "1", 1j], "a number"),
    (bool, [True, np.True_], [1, 0, "yes", None], "True or False"),
    (str, ["", "a"], [b"a", 3, None, Path("a")], "a text"),
    (str | Path, ["a", Path("a")], [None, 3], "a text or a path"),
    (float | None, [None, 1.0], ["1"], "a number"),
    (Literal["a", "b"], ["a"], ["c", 1, None], "a or b"),
    (Tensor, [torch.ones(2)], [np.ones(2), torch.ones(2, device="meta"), [1.0]], "torch tensor"),
    (Tensor, [], [torch.ones(2).to_sparse(), torch.ones(2) * 1j], "of real numbers"),
    (np.ndarray, [np.ones(2)], [torch.ones(2), np.array(["a"]), np.array(1j)], "NumPy array"),
    (tuple[float, ...], [(), (1, 2.0), [1.0]], [(1, "a"), {1.0}, 1.0], "several, each a number"),
    (tuple[int, str], [(1, "a")], [(1,), ("a", 1)], "a tuple of a whole number, a text"),
    (Sequence[str], [["a"], ()], ["a", [1], {"a"}], "several, each a text"),
    (Mapping[str, int], [{}], [[], None], "a mapping"),
    (Callable[[Tensor], Tensor], [len], ["len", None], "a function"),
    ("Elsewhere", [Path("a")], [None, 3, "a", torch.ones(2), [], object()], "an Elsewhere"),
    (Place, [Place(1.0)], [(1.0, ""), None, Place("1")], "(Place|a number)"),
]


@pytest.mark.parametrize(("hint", "right", "wrong", "words"), CASES)
def test_what_an_annotation_admits(hint, right, wrong, words):
    def door(given, *others, named=None):
        return given

    door.__annotations__ = {"given": hint, "others": hint, "named": hint}
    door = checked(door)
    for value in right:
        assert door(value) is value
        assert door(value, value, named=value) is value
    for value in wrong:
        for kind in (TypeError, ValueError, ArgumentError):
            with pytest.raises(kind, match=rf"Expected given.*{words}.*, got "):
                door(value)
        for arguments, named in (((*right[:1], value), {}), (right[:1], {"named": value})):
            with pytest.raises(ArgumentError, match=r"Expected (given|others|named)"):
                door(*arguments, **named)


def test_a_class_has_its_methods_checked():
    @checked
    class Door:
        def __init__(self, width: float = 1.0) -> None:
            self.width = width

        def times(self, by: int) -> float:
            return self.width * by

        @classmethod
        def of(cls, width: float) -> "Door":
            return cls(width)

    assert Door.of(2.0).times(by=3) == 6.0
    for call in (lambda: Door("1"), lambda: Door().times(1.5), lambda: Door.of(None)):
        with pytest.raises(ArgumentError, match=r"Expected (width|by) to be a "):
            call()


@pytest.mark.parametrize(
    ("shape", "axes", "fits"),
    [
        ((2, 8, 3), "N T 3", True),
        ((2, 8, 3), "... T A", True),
        ((8, 3), "... T A", True),
        ((3,), "... T A", False),
        ((2, 8, 4), "N T 3", False),
        ((2, 8), "N T 3", False),
        ((2, 0, 3), "N T 3", False),
        ((4, 8, 3), "N T A", False),
    ],
)
def test_shapes(shape, axes, fits):
    if fits:
        check_shape("actions", np.zeros(shape), axes, N=2)
        return
    with pytest.raises(ArgumentError, match=r"Expected actions \(.*, got \("):
        check_shape("actions", np.zeros(shape), axes, N=2)


@pytest.mark.parametrize(("value", "fits"), [(1, True), (3, True), (0, False), (4, False)])
def test_ranges(value, fits):
    if fits:
        check_between("count", value, 1, 3)
        return
    with pytest.raises(ArgumentError, match=f"Expected count from 1 to 3, got {value}"):
        check_between("count", value, 1, 3)
