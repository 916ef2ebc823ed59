"""Which trackers can run here, and why the others cannot."""

import argparse
from importlib.util import find_spec

from egowm.scs.trackers import BUILT_IN

_NEEDS = {"palette": ("cv2",), "flow": ("cv2",), "sam2": ("torch", "transformers")}
_ROLES = {
    "palette": "simulated rooms, by hue",
    "flow": "any video, by optical flow; blind to structures that vanish",
    "masks": "masks made elsewhere",
    "copy": "a check of folders",
    "oracle": "a simulator's own masks",
    "sam2": "the reference",
}

EPILOG = "Exit status: 0. A tracker that cannot run is no error unless you need it."


def configure(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(arguments: argparse.Namespace) -> int:
    """One line per tracker."""
    for name in dict.fromkeys([*BUILT_IN, "sam2"]):
        state, why = _state(name)
        print(f"{name:<9}{state:<5}{_ROLES.get(name, BUILT_IN.get(name, ''))}{why}")
    return 0


def _state(name: str) -> tuple[str, str]:
    missing = [package for package in _NEEDS.get(name, ()) if find_spec(package) is None]
    if missing:
        return "no", f"; missing here: pip install {' '.join(missing)}"
    if name not in BUILT_IN:
        return "no", "; not part of this version of egowm"
    weights = "; needs weights, which are never downloaded" if name == "sam2" else ""
    return "yes", weights
