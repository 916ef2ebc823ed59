"""Units by their names, as headers and specs write them: what a number is multiplied by."""

import unicodedata

import numpy as np

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "\u03bcs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "km": 1e3, "ft": 0.3048, "in": 0.0254}
RADIANS = {"rad": 1.0, "deg": float(np.pi) / 180, "°": float(np.pi) / 180}
SPELLINGS = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("radian", "radians"), "rad"),
    **dict.fromkeys(("degree", "degrees"), "deg"),
    **dict.fromkeys(("minute", "minutes"), "min"),
}


def scale_of(unit: str, known: dict[str, float]) -> float | None:
    """What a number in `unit` is multiplied by; "" is the first known one, None is an unknown."""
    plain = unicodedata.normalize("NFKC", unit).strip().rstrip(".")
    lower = plain.lower()
    plain = SPELLINGS.get(lower, lower if lower in known else plain) or next(iter(known))
    return known.get(plain)


def per_second(unit: str, known: dict[str, float]) -> float | None:
    """The same for a unit that is divided by a time, such as km/h; None for any other."""
    top, slash, bottom = unit.partition("/")
    seconds = scale_of(bottom, SECONDS) if bottom else None
    scale = scale_of(top, known) if slash and top else None
    return None if scale is None or seconds is None else scale / seconds


def same_unit(one: str, other: str) -> bool:
    """Whether two units are one, however they are spelt."""
    if one == other or not one or not other:
        return one == other
    return any(
        read(one, known) is not None and read(one, known) == read(other, known)
        for read in (scale_of, per_second)
        for known in (METRES, RADIANS, SECONDS)
    )
