"""How fast a robot moves by its labels, in plain words, and where none does."""

from collections.abc import Iterator, Sequence

import numpy as np

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.inspect.findings import Finding
from egowm.data.units import METRES, RADIANS, per_second, scale_of

LISTED = 6
WHEELED = (30.0, 360.0)  # metres and degrees a second that no robot on wheels exceeds for long
OTHERS = (10.0, 720.0)  # nor an arm, a leg or a camera in a hand
STILL = 2e-3  # metres a second that is not driving


def magnitude_findings(spec: ActionSpec, episodes: Sequence[Episode]) -> Iterator[Finding]:
    """How far each dimension with a known unit moves in a second, and those that cannot be so."""
    rows = np.abs(np.concatenate([episode.actions for episode in episodes]).astype(np.float64))
    middle, most, largest = np.quantile(rows, [0.5, 0.99, 1.0], axis=0)
    told, values, odd, fastest = [], {}, [], []
    wheels = spec.kind in ("se2", "command")
    for k, name in enumerate(spec.names):
        found = _speed(spec, k)
        if found is None:
            continue
        scale, words, limit = *found, (WHEELED if wheels else OTHERS)["degrees" in found[1]]
        told.append(f"{name} {middle[k] * scale:.3g} and {largest[k] * scale:.3g} {words}")
        values[name] = [float(middle[k] * scale), float(largest[k] * scale), words]
        if most[k] * scale > limit:
            odd.append(f"{name} reaches {most[k] * scale:.3g} {words}")
        if "metres" in words:
            fastest.append(most[k] * scale)
    if told:
        listed = ", ".join(told[:LISTED]) + (", ..." if told[LISTED:] else "")
        yield Finding("note", "magnitude", "", f"typical and largest motion: {listed}", values)
    if odd:
        text = f"{', '.join(odd[:LISTED])}: is its unit right, and the rate of {spec.rate_hz:g} Hz?"
        yield Finding("warning", "magnitude", "", f"no robot moves so: {text}")
    if fastest and 0 < max(fastest) < STILL:
        text = f"nothing moves faster than {max(fastest):.2g} metres a second: is the unit right?"
        yield Finding("warning", "magnitude", "", text)


def _speed(spec: ActionSpec, k: int) -> tuple[float, str] | None:
    """What an action of a dimension is multiplied by for metres or degrees a second; None where
    its unit says nothing about motion."""
    unit = spec.units[k]
    for known, words, whole in (
        (METRES, "metres a second", 1.0),
        (RADIANS, "degrees a second", 180 / np.pi),
    ):
        if spec.kind == "command":
            scale = per_second(unit, known)
        else:  # a step from a frame to the next
            scale = scale_of(unit, known) if unit else None
            scale = None if scale is None else scale * spec.rate_hz
        if scale is not None:
            return float(scale * whole), words
    return None
