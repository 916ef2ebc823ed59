"""Tracks of a clip's true video and of a prediction of it, from frames or from saved masks."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from egowm.scs.masks import ObjectMasks, read_masks
from egowm.scs.trackers.base import MaskReader, Tracker, Tracks
from egowm.video import read_frames


class Truth(NamedTuple):
    """What a prediction of the clip is compared with."""

    ids: tuple[int, ...]
    structures: np.ndarray  # (O, H, W) bool: the masks of frame 0
    tracks: Tracks
    void: np.ndarray | None  # (T+1, H, W) bool: pixels not judged, where saved masks have them
    first: np.ndarray | None  # frame 0, (H, W, 3) uint8, where frames are tracked


class Prediction(NamedTuple):
    """One predicted video of the clip."""

    tracks: Tracks
    gap: float  # mean difference of its frame 0 from the truth's, grey levels of 255


def track_truth(tracker: Tracker | MaskReader, clip: Path, annotation: ObjectMasks | None) -> Truth:
    """Tracks of the true video.

    annotation: frame 0's masks (1, O, H, W). A `MaskReader` needs only their ids, and without them
    takes all objects of its own first frame.
    """
    if isinstance(tracker, MaskReader):
        ids = None if annotation is None else annotation.ids
        found = read_masks(tracker.folder(clip), ids)
        return Truth(found.ids, found.masks[0], _saved(found.masks), found.void, None)
    if annotation is None:
        raise ValueError(f"The tracker {tracker.name!r} needs the masks of frame 0.")
    frames, structures = read_frames(clip), annotation.masks[0]
    tracks = _run(tracker, frames, structures)
    return Truth(annotation.ids, structures, tracks, None, frames[0].copy())


def track_prediction(tracker: Tracker | MaskReader, clip: Path, truth: Truth) -> Prediction:
    """Tracks of a predicted video of the same clip.

    Frame 0 is shared, so every video is tracked from the truth's, also where a codec or a VAE has
    changed the prediction's copy of it.
    """
    if isinstance(tracker, MaskReader):
        return Prediction(_saved(read_masks(tracker.folder(clip), truth.ids).masks), 0.0)
    frames = read_frames(clip)
    gap = float(np.abs(frames[0].astype(np.float32) - truth.first).mean())
    frames[0] = truth.first
    return Prediction(_run(tracker, frames, truth.structures), gap)


def _saved(masks: np.ndarray) -> Tracks:
    return Tracks(masks, np.ones(masks.shape[:2], np.float32))


def _run(tracker: Tracker, frames: np.ndarray, structures: np.ndarray) -> Tracks:
    """Track, and refuse what a tracker of the user's own may get wrong."""
    tracks = tracker.track(frames, structures)
    expected = (len(frames), *structures.shape)
    if tracks.masks.shape != expected or tracks.masks.dtype != bool:
        raise ValueError(
            f"Expected masks {expected} bool from the tracker {tracker.name!r}, "
            f"got {tracks.masks.shape} {tracks.masks.dtype}."
        )
    if tracks.evidence.shape != expected[:2]:
        raise ValueError(
            f"Expected evidence {expected[:2]} from the tracker {tracker.name!r}, "
            f"got {tracks.evidence.shape}."
        )
    return tracks
