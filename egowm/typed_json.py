"""JSON from disk, checked against the types that its reader names."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from egowm.checks import counted
from egowm.limits import TooLarge, load_json

_NAMES = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    NoneType: "null",
    Any: "a value without half letters",  # which are all that it refuses
}


class RecordError(ValueError):
    """A file that holds something else than its reader expects; the message names file and key."""


def read_json(path: Path, kind: Any, expected: str, partial: bool = False) -> Any:
    """What a JSON file holds, of type `kind`: a TypedDict of numbers, texts, lists, tuples and
    mappings.

    expected: what the file should be, for errors. partial: keys may be missing. Keys that the type
    does not name are let through. Raises RecordError, one line.
    """
    try:
        found = load_json(path, expected)
    except TooLarge:
        raise
    except ValueError as error:
        raise RecordError(str(error)) from error
    for fault in faults(found, kind, partial=partial):
        raise RecordError(f"{path}: expected {expected}; {' '.join(fault.split())}")
    return found


def faults(value: object, kind: Any, where: str = "", partial: bool = False) -> Iterator[str]:
    """Where a value is not of type `kind`: "clips[0].scs: expected a number, got 'x'"."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    fitting = next((k for k in kinds if _fits(value, k)), None)
    if fitting is None:
        names = " or ".join(_NAMES[_plain(k)] for k in kinds)
        yield f"{where or 'all of it'}: expected {names}, got {_short(value)}"
    elif is_typeddict(fitting) and isinstance(value, dict):
        yield from _of_mapping(value, fitting, where, partial)
    elif get_origin(fitting) is dict and isinstance(value, dict):
        key_kind, item_kind = get_args(fitting)
        for key, item in value.items():
            if key_kind is int and not key.isdecimal():
                yield f"{where}: expected whole numbers as keys, got {_short(key)}"
            yield from faults(item, item_kind, f"{where}.{key}", partial)
    elif isinstance(value, list) and fitting is not Any:
        kinds = get_args(fitting)
        if get_origin(fitting) is list or kinds[-1:] == (...,):
            kinds = kinds[:1] * len(value)
        if len(kinds) != len(value):
            yield f"{where}: expected {counted(len(kinds), 'value')}, got {len(value)}"
        for k, (item, item_kind) in enumerate(zip(value, kinds, strict=False)):
            yield from faults(item, item_kind, f"{where}[{k}]", partial)


def _of_mapping(value: dict[str, Any], kind: Any, where: str, partial: bool) -> Iterator[str]:
    """Faults of what a TypedDict describes."""
    start, hints = f"{where}." if where else "", get_type_hints(kind)
    if not partial:
        yield from (
            f"{start}{key}: missing" for key in sorted(kind.__required_keys__ - value.keys())
        )
    for key in value:
        if key in hints:
            yield from faults(value[key], hints[key], f"{start}{key}", partial)


def _fits(value: object, kind: Any) -> bool:
    """Whether a value is of a type, whatever it holds."""
    plain = _plain(kind)
    if plain in (int, float) and isinstance(value, bool):
        return False
    if plain is float and isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        return False  # no float holds it, or it is none (NaN)
    if isinstance(value, str) and not _is_whole(value):
        return False
    return plain is Any or isinstance(value, (int, float) if plain is float else plain)


def _is_whole(text: str) -> bool:
    """Whether a text holds no half letter, which no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(kind: Any) -> Any:
    plain = dict if is_typeddict(kind) else get_origin(kind) or kind
    return list if plain is tuple else plain


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
