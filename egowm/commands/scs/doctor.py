"""Which trackers can run here, and why the others cannot.

With --tracker, and for sam2 its weights, that one tracker is loaded as `score` would load it.
"""

import argparse

from egowm.commands.parser import Parser
from egowm.commands.tracker_options import add_options, chosen_tracker

EPILOG = """example:
  egowm-scs doctor --tracker sam2 --tracker_weights sam2.1_hiera_tiny.pt

Exit status: 0, also if some cannot run; 2 if --tracker names one that cannot be loaded.
"""


def configure(parser: Parser) -> None:
    """The command's options."""
    add_options(parser, "load this one, instead of listing all")


def run(arguments: argparse.Namespace) -> int:
    """One line per tracker, or the protocol's words for the one that was loaded."""
    from egowm.commands.doctor import trackers
    from egowm.scs.trackers import Tracker

    tracker = chosen_tracker(arguments)
    if tracker is None:
        for line in trackers():
            print(f"{line.level:<8} {line.text}")
        return 0
    options = tracker.options() if isinstance(tracker, Tracker) else {}
    ran = tracker.environment() if isinstance(tracker, Tracker) else {}
    print(f"ok       tracker {tracker.name}")
    for key, value in {**options, **ran}.items():
        print(f"  {key}: {value}")
    return 0
