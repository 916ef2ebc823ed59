"""Which trackers can run here, and why the others cannot.

With --tracker, and for sam2 its weights, that one tracker is loaded as `score` would load it.
"""

import argparse
from importlib.util import find_spec

from egowm.commands.tracker_options import add_options, chosen_tracker
from egowm.scs.trackers import BUILT_IN, Tracker

_NEEDS = {"palette": ("cv2",), "flow": ("cv2",), "sam2": ("torch", "transformers")}
_ROLES = {
    "palette": "simulated rooms, by hue",
    "flow": "any video, by optical flow; blind to structures that vanish",
    "masks": "masks made elsewhere",
    "copy": "a check of folders",
    "oracle": "a simulator's own masks",
    "sam2": "the reference; needs weights, which are never downloaded",
}

EPILOG = "Exit status: 0, also if some cannot run; 2 if --tracker names one that cannot be loaded."


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_options(parser, "load this one, instead of listing all")


def run(arguments: argparse.Namespace) -> int:
    """One line per tracker, or the protocol's words for the one that was loaded."""
    tracker = chosen_tracker(arguments)
    if tracker is not None:
        options = tracker.options() if isinstance(tracker, Tracker) else {}
        ran = tracker.environment() if isinstance(tracker, Tracker) else {}
        print(f"{tracker.name:<9}yes")
        for key, value in {**options, **ran}.items():
            print(f"  {key}: {value}")
        return 0
    for name in BUILT_IN:
        missing = [package for package in _NEEDS.get(name, ()) if find_spec(package) is None]
        why = f"; missing here: pip install {' '.join(missing)}" if missing else ""
        print(f"{name:<9}{'no' if missing else 'yes':<5}{_ROLES[name]}{why}")
    return 0
