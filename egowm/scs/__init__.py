"""Structural Consistency Score: does the static scene move as in the real recording?

`scs` scores masks in memory, `SCS` is the torchmetrics metric, `score_folders` scores videos on
disk as `egowm-scs` does. Importing this package loads neither torch nor OpenCV.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.scs.evaluate import score_folders
    from egowm.scs.metric import SCS
    from egowm.scs.score import scs

__all__ = ["SCS", "score_folders", "scs"]

__getattr__, __dir__ = face(
    __name__, {"SCS": "metric", "score_folders": "evaluate", "scs": "score"}
)
