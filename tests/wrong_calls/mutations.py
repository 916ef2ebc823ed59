"""What a caller may give in place of a right argument: another type, shape, number or order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

HUGE = 10**9


class Wrong(NamedTuple):
    """A value in place of a right one; refused: it can mean nothing, whatever is made of it."""

    label: str
    value: Any
    refused: bool = False


def wrongs(right: Any) -> Iterator[Wrong]:
    """Every value that is tried in place of a right one."""
    if right is not None:
        yield Wrong("None", None, True)
    yield from _of_other_types(right)
    if isinstance(right, Tensor):
        yield from _tensors(right)
    elif isinstance(right, np.ndarray):
        yield from _arrays(right)
    elif isinstance(right, bool):
        pass
    elif isinstance(right, int):
        yield from _whole(right)
    elif isinstance(right, float):
        yield from _numbers(right)
    elif isinstance(right, tuple) and hasattr(right, "_fields"):
        yield from _fields(right)
    elif isinstance(right, list | tuple):
        yield from _sequences(right)
    elif callable(right) and not isinstance(right, type | torch.nn.Module):
        yield from _functions(right)


def _of_other_types(right: Any) -> Iterator[Wrong]:
    text = isinstance(right, str | Path)
    yield Wrong("text", "nonsense", not text)
    yield Wrong("empty text", "", not text)
    yield Wrong("bytes", b"nonsense", True)
    yield Wrong("an object", object(), True)
    if not callable(right):
        yield Wrong("a class", int, True)
    yield Wrong("a mapping", {"a": 1}, not isinstance(right, Mapping))
    yield Wrong("empty list", [], not isinstance(right, Sequence) or text)
    yield Wrong("list of texts", ["a", "b"], not isinstance(right, Sequence))
    number = isinstance(right, int | float | Tensor | np.ndarray)
    yield Wrong("true", True, not isinstance(right, bool))
    yield Wrong("a number", 3, not number)
    yield Wrong("a fraction", 1.5, not number or isinstance(right, int))
    if not isinstance(right, Tensor | np.ndarray):
        yield Wrong("a tensor", torch.ones(2, 2), True)
        yield Wrong("an array", np.ones((2, 2)), True)


def _whole(right: int) -> Iterator[Wrong]:
    yield Wrong("zero", 0)
    yield Wrong("minus one", -1)
    yield Wrong("huge", HUGE)
    yield Wrong("beyond 64 bits", 10**30)
    yield Wrong("NaN", float("nan"), True)
    yield Wrong("inf", float("inf"), True)


def _numbers(right: float) -> Iterator[Wrong]:
    yield Wrong("zero", 0.0)
    yield Wrong("negative", -abs(right) - 1)
    yield Wrong("huge", 1e30)
    yield Wrong("beyond float32", 1e300)
    yield Wrong("NaN", float("nan"), True)
    yield Wrong("inf", float("inf"))
    yield Wrong("-inf", float("-inf"))


def _tensors(right: Tensor) -> Iterator[Wrong]:
    """Other shapes, types, numbers, and what is not a tensor although it looks like one."""
    yield Wrong("of complex numbers", right.to(torch.complex64), True)
    yield Wrong("on meta", right.to("meta"), True)
    for dtype in (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool):
        if dtype != right.dtype:
            yield Wrong(f"of {dtype}".replace("torch.", ""), right.to(dtype))
    yield Wrong("as an array", right.numpy())
    yield Wrong("as lists", right.tolist())
    yield Wrong("sparse", right.to_sparse(), True)
    for label, value in _shapes(right.numpy()):
        yield Wrong(label, torch.from_numpy(value))
    for wrong in _contents(right.numpy()):
        yield wrong._replace(value=torch.from_numpy(wrong.value))


def _arrays(right: np.ndarray) -> Iterator[Wrong]:
    yield Wrong("of complex numbers", right.astype(np.complex64), True)
    yield Wrong("of objects", right.astype(object), True)
    yield Wrong("of texts", right.astype(str), True)
    yield Wrong("as a tensor", torch.from_numpy(np.ascontiguousarray(right)))
    yield Wrong("as lists", right.tolist())
    for dtype in (np.float64, np.float16, np.int64, np.uint8, bool):
        if dtype != right.dtype:
            yield Wrong(f"of {np.dtype(dtype)}", right.astype(dtype))
    for label, value in _shapes(right):
        yield Wrong(label, value)
    yield from _contents(right)


def _shapes(right: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "one axis more", right[None].copy()
    yield "two axes more", right[None, None].copy()
    yield "all in one axis", right.reshape(-1).copy()
    if right.size:
        yield "a scalar", np.array(right.reshape(-1)[0])
    if right.ndim and len(right):
        yield "one axis less", np.array(right[0])
    for axis in range(right.ndim):
        first = right.take([0] if right.shape[axis] else [], axis)
        if right.shape[axis]:
            yield f"axis {axis} empty", right.take([], axis)
        yield f"axis {axis} of 1", first
        yield f"axis {axis} one longer", np.concatenate([right, first], axis)
        yield f"axis {axis} twice", np.concatenate([right, right], axis)
    if right.ndim > 1:
        yield "last axes swapped", np.ascontiguousarray(right.swapaxes(-1, -2))
        yield "first axes swapped", np.ascontiguousarray(right.swapaxes(0, 1))
        yield "axes reversed", np.ascontiguousarray(right.T)


def _contents(right: np.ndarray) -> Iterator[Wrong]:
    yield Wrong("zeros", np.zeros_like(right))
    if right.dtype.kind != "f":
        return
    for label, value in (("NaN", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
        broken = right.copy()
        broken.reshape(-1)[-1:] = value
        yield Wrong(f"one {label}", broken, True)
    yield Wrong("all NaN", np.full_like(right, np.nan), True)
    yield Wrong("negative", -right - 1)
    yield Wrong("in 0..255", right * 255)
    yield Wrong("huge", np.full_like(right, 1e30))


def _sequences(right: Sequence[Any]) -> Iterator[Wrong]:
    kind = type(right)
    yield Wrong("empty", kind())
    yield Wrong("one more", kind([*right, *right[:1]]))
    yield Wrong("one less", kind(right[:-1]))
    yield Wrong("with None", kind([*right[:-1], None]), True)
    yield Wrong("with an object", kind([*right[:-1], object()]), True)
    for wrong in wrongs(right[0]) if right else ():
        if isinstance(right[0], float | int):
            yield wrong._replace(
                label=f"first: {wrong.label}", value=kind([wrong.value, *right[1:]])
            )


def _fields(right: Any) -> Iterator[Wrong]:
    """A record with one field wrong."""
    for name in right._fields:
        for wrong in wrongs(getattr(right, name)):
            if not isinstance(wrong.value, str):
                yield wrong._replace(
                    label=f"{name}: {wrong.label}", value=right._replace(**{name: wrong.value})
                )


def _functions(right: Callable[..., Any]) -> Iterator[Wrong]:
    """A function that gives what no cost, judge or planner gives."""
    results = {
        "None": None,
        "a text": "nonsense",
        "a number": 1.0,
        "a list": [1.0, 2.0],
        "another shape": torch.zeros(3, 5),
        "a scalar tensor": torch.tensor(1.0),
        "complex": torch.zeros(4, dtype=torch.complex64),
    }
    for label, value in results.items():
        yield Wrong(f"that gives {label}", _constant(value), True)
    yield Wrong("that gives NaN", lambda *args, **kwargs: _broken(right(*args, **kwargs)), True)


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


def _broken(result: Any) -> Any:
    return result * float("nan") if isinstance(result, Tensor) else result
