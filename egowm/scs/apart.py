"""What two protocols differ in, in words: their hashes and settings say nothing to a reader."""

from collections.abc import Mapping
from typing import Any

_HASHED = {  # what a protocol knows by its hash alone
    "clips": "clips of {} lengths",
    "annotations": "{} structures of frame 0",
    "anchors": "{} structures of later frames",
}
_SHOWN = 24  # characters of a value


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    """What each of two protocols has and the other has not; "" twice where that is nothing.

    What follows from another tracker, or from other clips, is not told besides.

    >>> flow = {"tracker": {"name": "flow", "options": {"consistency": 1.0}}, "num_clips": 3}
    >>> apart(flow, {"tracker": {"name": "palette", "options": {}}, "num_clips": 3})
    ('the tracker flow', 'the tracker palette')
    """
    pairs = [*_of_tracker(one, other), *_of_clips(one, other), *_of_rest(one, other)]
    first, second = (", ".join(pair[k] for pair in pairs) for k in (0, 1))
    return first, second


def _of_tracker(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str]]:
    mine, theirs = (_part(protocol, "tracker") for protocol in (one, other))
    if mine.get("name") != theirs.get("name"):
        return [(f"the tracker {mine.get('name')}", f"the tracker {theirs.get('name')}")]
    options = [_part(found, "options") for found in (mine, theirs)]
    return [
        (f"{name} {_short(options[0].get(name))}", f"{name} {_short(options[1].get(name))}")
        for name in sorted(options[0].keys() | options[1].keys())
        if options[0].get(name) != options[1].get(name)
    ]


def _of_clips(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str]]:
    if one.get("num_clips") != other.get("num_clips"):
        first, second = (f"number of clips {found.get('num_clips')}" for found in (one, other))
        return [(first, second)]
    return [
        (words.format("its"), words.format("other"))
        for key, words in _HASHED.items()
        if one.get(key) != other.get(key)
    ]


def _of_rest(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for words, section, names in (
        ("frames of {1}x{0}", "view", ("height", "width")),
        ("the transform of frames {}", "view", ("transform",)),
        ("structures of {} of a frame or more", "semantics", ("min_area",)),
        ("version {} of the score", "semantics", ("version",)),
    ):
        values = [[_part(p, section).get(name) for name in names] for p in (one, other)]
        if values[0] != values[1]:
            found.append((words.format(*values[0]), words.format(*values[1])))
    return found


def _part(protocol: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section; an empty one where it is missing, or damaged."""
    found = protocol.get(name)
    return found if isinstance(found, Mapping) else {}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:12]}..."
