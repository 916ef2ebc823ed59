"""Trackers, one per file; the built-in ones have short names."""

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Literal

from egowm.checks import checked
from egowm.scs.trackers.base import MaskReader, Tracker, Tracks

__all__ = [
    "BUILT_IN",
    "DType",
    "Implementation",
    "MaskReader",
    "Tracker",
    "Tracks",
    "load_tracker",
]

Implementation = Literal["transformers", "native"]
DType = Literal["float32", "bfloat16"]
BUILT_IN = {
    "sam2": "egowm.scs.trackers.sam2.Sam2Tracker",
    "palette": "egowm.scs.trackers.palette.PaletteTracker",
    "moog": "egowm.scs.trackers.moog.MooGTracker",
    "flow": "egowm.scs.trackers.flow.FlowTracker",
    "masks": "egowm.scs.trackers.simple.SavedMasks",
    "copy": "egowm.scs.trackers.simple.CopyTracker",
    "oracle": "egowm.scs.trackers.simple.OracleMasks",
}


@checked
def load_tracker(
    name: str,
    weights: str | Path | None = None,
    implementation: Implementation | None = None,
    dtype: DType | None = None,
) -> Tracker | MaskReader:
    """The tracker of a short name, or of a class path such as `my_package.trackers.MyTracker`.

    weights, implementation, dtype: for trackers whose constructor takes them; ValueError elsewhere.
    """
    module, _, attribute = BUILT_IN.get(name, name).rpartition(".")
    if not module:
        raise ValueError(
            f"Expected a tracker of {', '.join(BUILT_IN)} or a class path, got {name!r}."
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Cannot import the tracker {name!r}: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Tracker | MaskReader)):
        raise ValueError(f"Expected {name!r} to be a Tracker of egowm.scs.trackers, got {found!r}.")
    options = {"weights": weights, "implementation": implementation, "dtype": dtype}
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in signature(found).parameters:
            raise ValueError(f"The tracker {name!r} takes no --tracker_{option}: sam2 does.")
    return found(**given)
