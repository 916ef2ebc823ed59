"""How much a file may claim, and what counts as a file: looked at before memory is taken.

A few bytes can claim any size. Each limit is an option: an environment variable of its name raises
it for files that are to be trusted.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

PIXELS = "EGOWM_MAX_PIXELS"  # of one picture, or of one frame of a video
BYTES = "EGOWM_MAX_BYTES"  # that the content of one file takes in memory
TEXT = "EGOWM_MAX_TEXT"  # bytes of a JSON file
RECIPE = "EGOWM_MAX_RECIPE"  # bytes of a YAML file, and values in it, its aliases written out
DEFAULTS = {PIXELS: 89_478_485, BYTES: 2 << 30, TEXT: 64 << 20, RECIPE: 1 << 20}
_DEEPEST = 100  # lists and mappings of a YAML file in one another
_STRANGE = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class TooLarge(ValueError):
    """A file that claims more than a limit; the message names file, claim, limit and option."""


def limit(option: str) -> int:
    """The value of a limit. Raises ValueError for a variable that holds no whole number."""
    told = os.environ.get(option, "")
    if told and not told.isdecimal():
        raise ValueError(f"{option}: expected a whole number, got {told!r}.")
    return int(told) if told else DEFAULTS[option]


def admit(file: object, count: int, what: str, option: str) -> None:
    """Refuse `count` of `what` ("bytes") that a file claims, where that is above a limit."""
    if count > limit(option):
        raise TooLarge(
            f"{file}: claims {count:,} {what}, the limit is {limit(option):,}. If the file is to "
            f"be trusted, {option}={count} lets it through."
        )


def ordinary(file: Path) -> os.stat_result:
    """What the system says of a file. Raises ValueError for pipes, devices, sockets and folders,
    which can be read without an end or not at all."""
    about = file.stat()
    found = next((name for is_one, name in _STRANGE if is_one(about.st_mode)), None)
    if found is not None:
        raise ValueError(f"{file}: expected an ordinary file, got {found}.")
    return about


def read_bytes(file: Path, option: str = BYTES) -> bytes:
    """The bytes of an ordinary file, which are no more than a limit."""
    admit(file, ordinary(file).st_size, "bytes", option)
    return file.read_bytes()


def load_json(file: Path, expected: str = "a JSON file") -> Any:
    """The content of a JSON file; `expected` is what an error says it should be.

    Raises FileNotFoundError, TooLarge, ValueError.
    """
    data = read_bytes(file, TEXT)
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: expected {expected}; not JSON: {error}.") from error
    except RecursionError as error:
        raise ValueError(f"{file}: expected {expected}; not JSON: nested too deeply.") from error


def read_yaml_text(file: Path, expected: str = "a YAML file") -> str:
    """The text of a YAML file that does not grow beyond a limit where its aliases are written out.

    Raises FileNotFoundError, TooLarge, ValueError for what is not YAML.
    """
    import yaml

    data = read_bytes(file, RECIPE)
    try:
        text = data.decode("utf-8")
        values = _count_values(file, text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: expected {expected} ({error}).") from error
    admit(file, values, "values, its aliases written out", RECIPE)
    return text


def _count_values(file: Path, text: str) -> int:
    """How many values a YAML text holds, those of an alias as often as it is named."""
    import yaml

    named: dict[str, int] = {}
    open_ones: list[tuple[str | None, int]] = [(None, 0)]  # anchor and values of what is open
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, 1))
            if len(open_ones) > _DEEPEST:
                raise ValueError(f"{file}: expected a YAML file nested less than {_DEEPEST} deep.")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, count = open_ones.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in named:
                raise ValueError(f"{file}: the alias *{event.anchor} names no value before it.")
            anchor, count = None, named[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, count = event.anchor, 1
        else:
            continue
        if anchor is not None:
            named[anchor] = count
        open_ones[-1] = (open_ones[-1][0], open_ones[-1][1] + count)
    return open_ones[0][1]
