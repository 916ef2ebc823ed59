"""Exact masks of simulated frames: for the simulator's own rollouts, never a generated video."""

from pathlib import Path

from egowm.scs.trackers.base import MaskReader


class OracleMasks(MaskReader):
    """Masks that a simulator wrote beside the frames: `<clip>/masks/00000.png` and on."""

    name = "oracle"

    def folder(self, clip: Path) -> Path:
        """The folder `masks` inside the clip's folder."""
        return clip / "masks"
