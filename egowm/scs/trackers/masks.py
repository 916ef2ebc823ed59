"""Masks made elsewhere, by any tracker."""

from pathlib import Path

from egowm.scs.trackers.base import MaskReader


class SavedMasks(MaskReader):
    """The clips are masks themselves: folders of palette PNG or npz, frame 0 included."""

    name = "masks"

    def folder(self, clip: Path) -> Path:
        """The clip itself."""
        return clip
