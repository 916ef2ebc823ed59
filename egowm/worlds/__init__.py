"""Simulated worlds that come with the toolkit: frames with exact actions, masks, depth and pose."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.worlds.humanoid import Base, Humanoid
    from egowm.worlds.humanoid_replay import Replay
    from egowm.worlds.rooms import Camera, Room

__all__ = ["Base", "Camera", "Humanoid", "Replay", "Room"]

__getattr__, __dir__ = face(__name__)
