"""Cosmos 3: NVIDIA's own action-conditioned pipeline, as a world model to compare with."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.backbones.cosmos3.model import Cosmos3
    from egowm.backbones.cosmos3.pose import CameraSteps

__all__ = ["CameraSteps", "Cosmos3"]

__getattr__, __dir__ = face(__name__)
