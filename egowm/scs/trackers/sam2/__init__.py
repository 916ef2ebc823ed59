"""The `sam2` tracker: one model, two implementations, nothing downloaded."""

from egowm.scs.trackers.sam2.tracker import Sam2Tracker

__all__ = ["Sam2Tracker"]
