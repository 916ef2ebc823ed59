"""The features of a LeRobot data set: which are read, and the names of their dimensions."""

import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from egowm.paths import inside

NOT_NUMBERS = ("video", "image", "string")  # dtypes
WIDEST = 65_536  # dimensions of a feature; more is a mistake that fills the memory


def features_of(info: dict[str, Any], wanted: str | list[str]) -> list[str]:
    """Features by name, by a list of names, or by a pattern such as "action.*", which finds them in
    the file's order."""
    found = []
    for key in [wanted] if isinstance(wanted, str) else wanted:
        if "*" not in key:
            found.append(key)
            continue
        matching = [
            name
            for name, feature in info["features"].items()
            if fnmatchcase(name, key) and feature.get("dtype") not in NOT_NUMBERS
        ]
        if not matching:
            known = ", ".join(info["features"])
            raise ValueError(f"LeRobot: no feature is called {key}; info.json has {known}.")
        found += matching
    return list(dict.fromkeys(found))


def joined_names(info: dict[str, Any], wanted: str | list[str]) -> list[str]:
    """The names of the dimensions of one or more features, one after the other; a name that two of
    them have comes with its feature's."""
    names = [(key, name) for key in features_of(info, wanted) for name in names_of(info, key)]
    plain = [name for _, name in names]
    return [name if plain.count(name) == 1 else f"{key}.{name}" for key, name in names]


def names_of(info: dict[str, Any], key: str) -> list[str]:
    """The names of a feature's dimensions: the file's, or `<key>_0` ... where it has none.

    They are a list, or a list under one key ({"motors": [...]}), as LeRobot has written both.
    """
    if key not in info["features"]:
        known = ", ".join(info["features"])
        parts = [feature for feature in info["features"] if feature.startswith(f"{key}.")]
        hint = f" For all of its parts write {key}.*" if parts else ""
        raise ValueError(f"LeRobot: no feature {key!r}; info.json has {known}.{hint}")
    feature = info["features"][key]
    names, width = feature.get("names"), _width(key, feature.get("shape") or [1])
    if isinstance(names, dict):
        names = [n for part in names.values() for n in (part if isinstance(part, list) else [part])]
    if isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    if isinstance(names, list) and len(names) == len(set(map(str, names))) == width:
        return [str(name) for name in names]
    return [f"{key}_{k}" for k in range(width)]


def _width(key: str, shape: Any) -> int:
    """The number of a feature's dimensions, of which no more than `WIDEST` are believed."""
    sizes = shape if isinstance(shape, list) and all(type(n) is int for n in shape) else [0]
    if not 1 <= (width := math.prod(sizes)) <= WIDEST or min(sizes) < 1:
        raise ValueError(
            f"LeRobot: info.json, {key}: expected a shape such as [7], of at most {WIDEST:,} "
            f"numbers, got {str(shape)[:80]}."
        )
    return width


def camera_of(root: Path, info: dict[str, Any], camera: str | None) -> str:
    """The video feature to read: the one named, or the only one that has files."""
    videos = [key for key, value in info["features"].items() if value.get("dtype") == "video"]
    if camera is not None:
        if camera not in videos:
            raise ValueError(
                f"LeRobot: no camera {camera!r}; it has {', '.join(videos) or 'none'}."
            )
        return camera
    for key in videos:
        inside(root / "videos", key, f"{root / 'meta' / 'info.json'}: features")
    present = [key for key in videos if next((root / "videos").glob(f"**/{key}"), None)]
    if len(present) == 1:
        return present[0]
    if not videos:
        raise ValueError(
            "LeRobot: no feature of dtype 'video'. Pictures kept in tables are not read; "
            "encode them with LeRobot's own scripts."
        )
    raise ValueError(
        f"LeRobot: set camera to one of {', '.join(videos)}; videos of {len(present)} of them lie "
        f"in {root / 'videos'}."
    )
