"""Structural Consistency Score: does the static scene move as in the real recording?

`scs` scores masks in memory, `SCS` is the torchmetrics metric, `score_folders` scores videos on
disk as `egowm-scs` does. Importing this package loads neither torch nor OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from egowm.scs.score import scs

if TYPE_CHECKING:
    from egowm.scs.evaluate import score_folders
    from egowm.scs.metric import SCS

__all__ = ["SCS", "score_folders", "scs"]

_LAZY = {"SCS": "egowm.scs.metric", "score_folders": "egowm.scs.evaluate"}


def __getattr__(name: str) -> Any:
    """Imports `SCS` (torch) and `score_folders` on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'egowm.scs' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
