"""What watches over a training run: guards, checkpoints, averages, pictures, scores."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.training.average import WeightAverage
    from egowm.training.checkpoints import RunCheckpoint
    from egowm.training.guard import ActionGuard
    from egowm.training.health import Health
    from egowm.training.pictures import RolloutPictures
    from egowm.training.progress import Progress
    from egowm.training.structure import StructureScore

__all__ = [
    "ActionGuard",
    "Health",
    "Progress",
    "RolloutPictures",
    "RunCheckpoint",
    "StructureScore",
    "WeightAverage",
]

__getattr__, __dir__ = face(__name__)
