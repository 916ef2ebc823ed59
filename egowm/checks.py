"""Arguments checked at the doors of the package against the annotations that they have anyway.

`checked` turns what would end in an error from inside torch or NumPy into a sentence: what was
expected of which argument, and what came. Shapes, ranges and contents are checked where they are
used.
"""

import builtins
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial, wraps
from inspect import isclass, isfunction, signature
from itertools import chain, repeat
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

Door = TypeVar("Door", bound=Callable[..., Any])
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    NoneType: "None",
    Path: "a path",
    Callable: "a function",
    Mapping: "a mapping",
    dict: "a mapping",
    np.ndarray: "a NumPy array of numbers",
    "Tensor": "a dense torch tensor of real numbers",
}


_DONE = "_egowm_checked"
MOST_SEED = 2**63 - 1  # of a generator of torch


class ArgumentError(TypeError, ValueError):
    """An argument is not what its annotation says; caught as either kind of error."""


class _Elsewhere:
    """A class that an annotation names and its module does not import: what stands in for it has
    a class of its own."""


def checked(door: Door) -> Door:
    """The function, whose arguments must be what their annotations say; or the class, with its
    constructor and its public methods.

    A whole number is no bool, a number no NaN, a tensor dense, real and with data; of a record, the
    fields too. An array or tensor of one axis is several numbers. Where a tensor is expected, an
    array of NumPy becomes one, in float32 if it is wider; nothing else is converted. Raises
    `ArgumentError`; not under torch.compile, which cannot follow the checks.

    >>> @checked
    ... def scaled(values: list[float], by: float = 1.0) -> list[float]:
    ...     return [by * value for value in values]
    >>> scaled([1, 2], by="3")
    Traceback (most recent call last):
    egowm.checks.ArgumentError: Expected by to be a number, got '3'.
    """
    if isclass(door):
        for name, method in list(vars(door).items()):
            if name == "__init__" or not name.startswith("_"):
                if isinstance(method, classmethod):
                    setattr(door, name, classmethod(checked(method.__func__)))
                elif isfunction(method) and not hasattr(method, _DONE):
                    setattr(door, name, checked(method))
        return door
    parameters = signature(door).parameters.values()
    rest = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    hints = cache(partial(_hints, door.__annotations__, door.__globals__))

    @wraps(door)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _is_compiling():
            return door(*args, **kwargs)
        known = hints()
        placed = zip(chain(names, *map(repeat, rest), repeat("")), args, strict=False)
        told = [_taken(name, known, value) for name, value in placed]
        return door(*told, **{name: _taken(name, known, kwargs[name]) for name in kwargs})

    setattr(call, _DONE, True)  # a wrapper of this one keeps it, and may say something first
    return call  # type: ignore[return-value]


def _taken(name: str, hints: Mapping[str, Any], value: Any) -> Any:
    """An argument as its function takes it; refuses what its annotation does not admit."""
    if name in hints:
        value = _as_tensors(hints[name], value)
        _check(name, hints[name], value)
    return value


def _as_tensors(hint: Any, value: Any) -> Any:
    """An array as a tensor of its own where that is expected; of a record, its fields."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        found = _fields(type(value)).items()
        made = {name: _as_tensors(kind, getattr(value, name)) for name, kind in found}
        changed = {name: item for name, item in made.items() if item is not getattr(value, name)}
        record: Any = value
        return record._replace(**changed) if changed else record
    if not (_is_a(np.ndarray, value) and _is_of_tensor(hint)):
        return value
    import torch

    wide = value.dtype.kind == "f" and value.dtype.itemsize >= 8
    dtype = np.dtype(np.float32) if wide else value.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # what becomes infinite is refused where it is used
        return torch.from_numpy(np.array(value, dtype, order="C"))


def _is_of_tensor(hint: Any) -> bool:
    """Whether an annotation names a tensor, and no array beside it."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return np.ndarray not in parts and any(getattr(p, "__name__", "") == "Tensor" for p in parts)


def _check(name: str, hint: Any, value: Any) -> None:
    if not _admits(hint, value):
        be = "" if _of_words(hint) else "to be "
        raise ArgumentError(f"Expected {name} {be}{_words(hint)}, got {shown(value)}.")
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, expected in _fields(type(value)).items():
            _check(f"{name}.{field}", expected, getattr(value, field))


@cache
def _fields(record: type) -> dict[str, Any]:
    """What a record's fields should be, without its texts, of which a batch holds several."""
    found = _hints(record.__annotations__, vars(sys.modules[record.__module__]))
    return {name: hint for name, hint in found.items() if hint is not str}


def _hints(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    names = _Names(known)
    return {name: _resolved(hint, names) for name, hint in given.items()}


def hints_of(make: Callable[..., Any]) -> dict[str, Any]:
    """A function's annotations by name, of whatever package; none where they cannot be resolved,
    as those that name what is imported for type checkers alone."""
    try:
        return get_type_hints(make)
    except (AttributeError, NameError, SyntaxError, TypeError):
        return {}


def check_shape(name: str, value: Any, axes: str, **sizes: int) -> None:
    """Refuse a tensor or array of another shape, and one with an empty axis.

    Args:
        name: of the argument, for the message.
        value: what has a shape.
        axes: a letter or a size for each, "B T 3"; "..." in front stands for any number of them.
        sizes: of letters that are known.

    >>> check_shape("actions", np.zeros((2, 8, 3)), "N T A", A=2)
    Traceback (most recent call last):
    egowm.checks.ArgumentError: Expected actions (N, T, 2), got (2, 8, 3).
    """
    wanted = [str(sizes.get(axis, axis)) for axis in axes.split()]
    if not hasattr(value, "shape"):
        raise ArgumentError(f"Expected {name} ({', '.join(wanted)}), got {shown(value)}.")
    got = list(value.shape)
    if wanted[0] == "...":
        got = ["...", *got[max(0, len(got) - len(wanted) + 1) :]]
    fits = len(got) == len(wanted) and all(
        str(size) == axis or not axis.isdigit() for size, axis in zip(got, wanted, strict=True)
    )
    if not fits or 0 in value.shape:
        raise ArgumentError(f"Expected {name} ({', '.join(wanted)}), got {tuple(value.shape)}.")


def check_float(name: str, value: Any) -> None:
    """Refuse whole numbers and bools where a tensor is of fractions: none is converted."""
    if not (_is_tensor(value) and _is_plain(value) and value.is_floating_point()):
        raise ArgumentError(f"Expected {name} of floating point numbers, got {shown(value)}.")


def check_alike(name: str, value: Any, other: str, like: Any) -> None:
    """Refuse two tensors or arrays of different shapes."""
    if value.shape != like.shape:
        raise ArgumentError(
            f"Expected {name} of the shape of {other}, {tuple(like.shape)}, got "
            f"{tuple(value.shape)}."
        )


def check_between(name: str, value: float, least: float, most: float) -> None:
    """Refuse a number out of a range whose ends are allowed."""
    if not least <= value <= most:
        raise ArgumentError(f"Expected {name} from {least:g} to {most:g}, got {value:g}.")


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuse what is no whole number in a range, where no annotation says so."""
    if not _is_a(int, value):
        raise ArgumentError(f"Expected {name} to be a whole number, got {shown(value)}.")
    check_between(name, value, least, most)


def shown(value: Any) -> str:
    """What came, in a few words."""
    if _is_tensor(value):
        kind = str(value.dtype).removeprefix("torch.")
        place = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"a tensor {tuple(value.shape)} of {kind}{place}"
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isclass(value):
        return f"the class {value.__name__}"
    if isinstance(value, str | bytes | Real | Sequence | Mapping | None):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    return _one(type(value).__name__)


def counted(number: int, one: str, several: str = "") -> str:
    """How many there are, in words; several: the words for any number but 1, or an s is added.

    >>> counted(1, "clip"), counted(2, "clip"), counted(2, "clip is", "clips are")
    ('1 clip', '2 clips', '2 clips are')
    """
    return f"{number} {one if number == 1 else several or one + 's'}"


def _one(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"


class _Names(dict[str, Any]):
    """A module's names, and a class for each that it imports for types only."""

    def __missing__(self, name: str) -> Any:
        return vars(builtins).get(name) or type(name, (_Elsewhere,), {})


def _resolved(hint: Any, known: _Names) -> Any:
    """An annotation without names in quotes, also inside a union."""
    if isinstance(hint, str):
        return _resolved(eval(hint, {}, known), known)  # of this package's own source
    if hasattr(hint, "__forward_arg__"):
        return _resolved(hint.__forward_arg__, known)
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_resolved(part, known) for part in get_args(hint))]  # noqa: UP007
    return NoneType if hint is None else hint


def _admits(hint: Any, value: Any) -> bool:
    """Whether a value is what an annotation says."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_admits(part, value) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is None:
        if isinstance(hint, TypeVar):
            return hint.__bound__ is None or _admits(hint.__bound__, value)
        return hint is Any or _is_a(hint, value)
    if origin is Callable:
        return callable(value)
    row = isinstance(value, np.ndarray) or (_is_tensor(value) and _is_plain(value))
    if row and value.ndim == 1:
        value = value.tolist()
    kinds = (tuple, list) if origin is tuple else origin  # YAML and JSON bring lists
    if isinstance(value, str | bytes) or not isinstance(value, kinds):
        return False
    if origin is tuple and parts[-1] is not Ellipsis:
        return len(parts) == len(value) and all(map(_admits, parts, value))
    each = isinstance(value, Sequence) and issubclass(origin, Sequence)
    return not each or all(_admits(parts[0], item) for item in value)


def _is_a(kind: Any, value: Any) -> bool:
    """Whether a value is of a class, in the narrow sense of `checked`."""
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        return not isinstance(value, bool) and isinstance(value, Integral)
    if kind is float:
        return not isinstance(value, bool) and isinstance(value, Real) and value == value
    if kind is np.ndarray:
        masked = isinstance(value, np.ma.MaskedArray)  # whose hidden values would become data
        return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and not masked
    if kind.__name__ == "Tensor":
        return _is_tensor(value) and _is_plain(value)
    if issubclass(kind, _Elsewhere):
        return type(value).__module__.partition(".")[0] not in ("builtins", "torch", "numpy")
    if getattr(kind, "_is_protocol", False):
        return not isclass(value) and all(hasattr(value, name) for name in _members(kind))
    return isinstance(value, kind)


@cache
def _members(protocol: type) -> tuple[str, ...]:
    names = (*vars(protocol), *protocol.__annotations__)
    return tuple(name for name in names if name == "__call__" or not name.startswith("_"))


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # where nobody imported it, nothing is a tensor
    return torch is not None and isinstance(value, torch.Tensor)


def _is_compiling() -> bool:
    """Whether torch.compile follows the call."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def _is_plain(tensor: Any) -> bool:
    """Dense, real, and with data."""
    return not (tensor.layout != sys.modules["torch"].strided or tensor.is_meta) and not (
        tensor.is_complex() or tensor.is_quantized
    )


def _of_words(hint: Any) -> bool:
    """Whether an annotation lists the words that may be given."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any(get_origin(part) is Literal for part in parts)


def _words(hint: Any) -> str:
    """An annotation in plain words."""
    hint = getattr(hint, "__bound__", None) or hint
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in parts if part is not NoneType))
    if origin is Literal:
        *first, last = map(str, parts)
        return f"{', '.join(first)} or {last}" if first else last
    if origin is tuple and parts[-1] is not Ellipsis:
        return f"a tuple of {', '.join(map(_words, parts))}"
    known = _WORDS.get(origin or hint) or _WORDS.get(getattr(hint, "__name__", ""))
    if known is not None or origin is None:
        return known or _one(getattr(hint, "__name__", str(hint)))
    each = _words(parts[0])
    return each if each.startswith("several, ") else f"several, each {each}"  # or rows of them
