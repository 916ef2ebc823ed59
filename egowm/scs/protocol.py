"""What a score depends on, and its fingerprint: only scores with one fingerprint compare."""

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from egowm import __version__
from egowm.scs.trackers.base import MaskReader, Tracker
from egowm.scs.tracking import MIN_CYCLE

SEMANTICS = {
    "version": 1,
    "frames": "1..T",
    "frame_0": "the truth's, for every video",
    "empty": "frames with both masks empty are left out; one empty is 0",
    "lost": "frames without evidence in the prediction, but with it in the truth, are 0",
    "average": "frame, object, clip, data set",
}
DOUBTFUL = {
    "rule": "a structure is left out if it does not return to its own mask",
    "to": "the last frame before it first leaves the view, and back",
    "iou_below": MIN_CYCLE,
}
_PACKAGES = ("numpy", "opencv-python-headless", "pillow", "sam2", "torch", "transformers")


def describe_protocol(
    tracker: Tracker | MaskReader,
    clips: Mapping[str, int],
    annotations: Mapping[str, str],
    size: tuple[int, int],
    min_area: float,
    transform: str = "none",
    anchors: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that changes a score, other than the videos.

    clips: name -> number of frames; annotations: name -> `hash_structures`; size: (H, W) of a
    scored frame; transform: from the stored frames to the scored ones; anchors: as `annotations`,
    where later frames are annotated too.
    """
    options = tracker.options() if isinstance(tracker, Tracker) else {}
    judged = isinstance(tracker, Tracker) and tracker.memory
    anew = {} if anchors is None else {"anchors": _sha256(anchors)}
    return {
        "semantics": {**SEMANTICS, "min_area": min_area},
        "doubtful": DOUBTFUL if judged else "not judged: the tracker has no memory",
        "tracker": {"name": tracker.name, "options": options},
        "annotations": _sha256(annotations),
        "clips": _sha256(clips),
        "num_clips": len(clips),
        "view": {"height": size[0], "width": size[1], "transform": transform},
        **anew,
    }


def hash_structures(ids: tuple[int, ...], masks: np.ndarray) -> str:
    """sha256 of the structures of one clip: `masks (O, H, W)` bool, however they were stored."""
    digest = hashlib.sha256(_canonical([ids, masks.shape]))
    digest.update(np.packbits(masks).tobytes())
    return digest.hexdigest()


def fingerprint(protocol: Mapping[str, Any]) -> str:
    """sha256 of the protocol as canonical JSON."""
    return _sha256(protocol)


def environment(tracker: Tracker | MaskReader) -> dict[str, Any]:
    """Versions and device: recorded, no part of the fingerprint."""
    ran = tracker.environment() if isinstance(tracker, Tracker) else {}
    return {
        "egowm": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "device": "cpu",
        **{name: _version(name) for name in _PACKAGES},
        **ran,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()
