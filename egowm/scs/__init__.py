"""Structural Consistency Score: does the static scene move as in the real recording?

`scs` scores masks in memory and `video_scs` videos, `SCS` and `VideoSCS` are the torchmetrics
metrics, `score_folders` scores videos on disk as `egowm-scs` does. Importing this package loads
neither torch nor OpenCV.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.scs.evaluate import score_folders
    from egowm.scs.metric import SCS
    from egowm.scs.score import scs
    from egowm.scs.trackers.base import Tracker
    from egowm.scs.video_metric import VideoSCS, video_scs

__all__ = ["SCS", "Tracker", "VideoSCS", "score_folders", "scs", "video_scs"]

__getattr__, __dir__ = face(__name__)
