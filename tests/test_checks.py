"""What annotations admit, and in which words the rest is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from egowm.actions import ActionSpec
from egowm.checks import ArgumentError, check_between, check_shape, checked
from egowm.conditioning.alignment import align
from egowm.conditioning.embedding import ActionEmbedding
from egowm.evaluation.report.run_page import write_report
from egowm.pixels import from_model, to_unit
from egowm.planning.costs import Magnitude, Smoothness
from egowm.planning.space import Space
from egowm.sampling import as_sequences
from egowm.scs.bootstrap import interval
from egowm.scs.compare import compare_runs
from egowm.scs.metric import SCS
from egowm.scs.score import overlap, scs, summarise
from egowm.worlds.recording import follow
from egowm.worlds.rooms import Room

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
    (Tensor, [torch.ones(2)], [np.array(["a"]), torch.ones(2, device="meta")], "torch tensor"),
    (Tensor, [], [[1.0], np.ones(2) * 1j, np.ma.masked_equal(np.ones(2), 1)], "torch tensor"),
    (Tensor, [], [torch.ones(2).to_sparse(), torch.ones(2) * 1j], "of real numbers"),
    (np.ndarray, [np.ones(2)], [torch.ones(2), np.array(["a"]), np.array(1j)], "NumPy array"),
    (tuple[float, ...], [(), (1, 2.0), [1.0]], [(1, "a"), {1.0}, 1.0], "several, each a number"),
    (
        tuple[float, ...],
        [np.ones(2), torch.ones(2)],
        [np.ones((2, 2)), torch.ones(2).to_sparse()],
        "several, each a number",
    ),
    (Sequence[str], [np.array(["a", "b"])], [np.ones(2)], "several, each a text"),
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


class Pair(NamedTuple):
    left: Tensor
    right: np.ndarray


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(3.0), torch.float32),
        (np.arange(3.0, dtype=np.float16), torch.float16),
        (np.arange(3, dtype=">i4")[::-1], torch.int32),
        (np.arange(3, dtype=np.uint8), torch.uint8),
        (np.array([True, False, True]), torch.bool),
    ],
)
def test_an_array_becomes_a_tensor_where_one_is_expected(array, dtype):
    """Of its own memory; beside an array in the annotation, and in a list, it stays one."""

    @checked
    def door(one: Tensor | None, *more: Tensor, either: Tensor | np.ndarray, pair: Pair) -> object:
        return one, more, either, pair

    one, (more,), either, pair = door(array, array, either=array, pair=Pair(array, array))
    for made in (one, more, pair.left):
        assert made.dtype == dtype
        assert made.tolist() == array.tolist()
    assert either is array
    assert pair.right is array
    one[0] = 0 if array[0] else 1
    assert array[0] != one[0]
    with pytest.raises(TypeError, match="positional argument"):
        checked(lambda: None)(array)


@pytest.mark.parametrize(
    "door",
    [
        to_unit,
        from_model,
        ActionEmbedding(2, 4),
        lambda actions: align(actions, 2, "concatenate"),
    ],
)
def test_torch_compiles_through_the_checks(door):
    values = torch.rand(1, 4, 2)
    compiled = torch.compile(door, fullgraph=True, backend="eager")
    assert torch.equal(compiled(values), door(values))


COLUMNS = {"names": ("x", "y"), "units": ("m", "m"), "frame": "a", "kind": "command"}
SPEC = ActionSpec(**COLUMNS, rate_hz=4.0, low=(0.0, 0.0), high=(1.0, 2.0))
ROWS = [[0.0, 0.0], [1.0, 2.0]]
MASKS = np.zeros((4, 1, 8, 8), bool)
MASKS[:, :, :4] = True
NONE_LOST = np.zeros((4, 1), bool)


def counted(masks: object, lost: object, clip: object) -> float:
    metric = SCS()
    metric.update(masks, masks, lost, clip)
    return float(metric.compute()["scs"])


@pytest.mark.parametrize(
    ("call", "plain", "others"),
    [
        (lambda x: replace(SPEC, high=x).high, [1.0, 2.0], [np.array, torch.tensor, tuple]),
        (lambda x: SPEC.fitted([x]).high, ROWS, [np.array, torch.tensor, lambda x: np.array([x])]),
        (
            lambda x: Space(torch.zeros(3, 2), x).std.tolist(),
            torch.tensor([0.1, 0.2]),
            [Tensor.tolist],
        ),
        (
            lambda x: Space(torch.zeros(3, 2), x).std.tolist(),
            torch.tensor([0.1, 0.2]),
            [Tensor.numpy],
        ),
        (
            lambda x: Magnitude(x)(None, torch.ones(1, 3, 2)),
            torch.ones(2),
            [Tensor.tolist, Tensor.numpy],
        ),
        (
            lambda x: Smoothness(x)(None, torch.rand(1, 3, 2)) >= 0,
            torch.ones(2),
            [Tensor.tolist, Tensor.numpy],
        ),
        (lambda x: scs(MASKS, MASKS, lost=x), NONE_LOST, [torch.tensor]),
        (lambda x: counted(x, None, None), torch.tensor(MASKS), [Tensor.numpy]),
        (lambda x: counted(torch.tensor(MASKS), x, 1), torch.tensor(NONE_LOST), [Tensor.numpy]),
        (lambda x: counted(torch.tensor(MASKS), None, x), 1, [torch.tensor]),
        (lambda x: summarise([overlap(MASKS, MASKS)] * 2, x).scs, [0, 1], [np.array, torch.tensor]),
        (lambda x: interval(np.arange(20.0), x), [str(k) for k in range(20)], [np.array]),
        (lambda x: as_sequences(x, SPEC, "cpu"), torch.rand(3, 2), [Tensor.tolist, Tensor.numpy]),
        (lambda x: as_sequences(x, SPEC, "cpu"), torch.rand(1, 3, 2), [Tensor.tolist]),
        (lambda x: follow(0, x, np.zeros((1, 3)))[0], np.array([1.0, 1.0, 0.0]), [list, tuple]),
    ],
)
def test_numbers_come_in_several_forms(call, plain, others):
    wanted = call(plain)
    for form in others:
        assert np.array_equal(call(form(plain)), wanted)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda form: write_report(form("nowhere")), "no such folder|does not exist|nowhere"),
        (lambda form: compare_runs([form("nowhere")], [form("elsewhere")]), "nowhere"),
        (lambda form: Room(0, papers=form("nowhere")), "nowhere"),
    ],
)
@pytest.mark.parametrize("form", [str, Path])
def test_paths_come_as_texts_too(call, error, form):
    with pytest.raises((OSError, ValueError), match=error) as caught:
        call(form)
    assert not isinstance(caught.value, ArgumentError)


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
