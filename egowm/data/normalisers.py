"""Published ranges of wheeled robots' steps, in place of measured ones.

The numbers, each with its source, are in `constants/egowm.json`.
"""

import json
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from egowm.actions import ActionSpec

# steps in the body frame; 4 Hz is the rate of RECON and of NWM's preprocessing
WHEELED = ActionSpec(("dx", "dy", "dyaw"), ("m", "m", "rad"), frame="body", kind="se2", rate_hz=4.0)
Normaliser = Literal["data", "recon", "scand", "tartandrive", "sacson"]


def published_spacing(name: Normaliser) -> float:
    """Metres between waypoints of a data set; ValueError for one that is not published."""
    known = {key: value for key, value in _constants()["spacing_metres"].items() if key != "about"}
    if name not in known:
        raise ValueError(f"Expected a normaliser data, {', '.join(known)}; got {name!r}.")
    return float(known[name]["metres"])


def waypoint_range(meaning: ActionSpec, spacing: float) -> ActionSpec:
    """EgoWM's 3-DoF normaliser as an ActionSpec: `meaning` with the published low and high.

    dx, dy are divided by `spacing` (metres) and then mapped from [-2.5, 5] and [-4, 4] to [-1, 1],
    so no motion is (-1/3, 0); dyaw, in radians, passes as it is.
    """
    ranges = _constants()["waypoints"]
    if list(meaning.names) != ranges["names"]:
        raise ValueError(
            f"The published ranges are of {', '.join(ranges['names'])}; got "
            f"{', '.join(meaning.names)}. Use normaliser: data."
        )
    scale = (spacing, spacing, 1.0)
    low, high = (
        tuple(value * by for value, by in zip(ranges[end], scale, strict=True))
        for end in ("low", "high")
    )
    return replace(meaning, low=low, high=high)


@lru_cache
def _constants() -> dict[str, Any]:
    text = files("egowm.data").joinpath("constants/egowm.json").read_text(encoding="utf-8")
    constants: dict[str, Any] = json.loads(text)
    return constants
