"""Tracks of a clip's true video and of a prediction of it, from frames or from saved masks."""

from typing import NamedTuple

import numpy as np

from egowm.scs.checks import MIN_CYCLE, cycle_iou, track_again
from egowm.scs.layouts import Video
from egowm.scs.masks import ObjectMasks, read_masks
from egowm.scs.score import Overlap
from egowm.scs.trackers.base import MaskReader, Tracker, Tracks


class Truth(NamedTuple):
    """What a prediction of the clip is compared with."""

    ids: tuple[int, ...]
    structures: np.ndarray  # (O, H, W) bool: the masks of frame 0
    tracks: Tracks
    void: np.ndarray | None  # (T+1, H, W) bool: pixels not judged, where saved masks have them
    first: np.ndarray | None  # frame 0, (H, W, 3) uint8, where frames are tracked
    doubtful: dict[int, tuple[float, np.ndarray]]  # id -> cycle IoU, masks (T+1, H, W): left out
    again: Overlap | None  # the truth tracked anew from its middle, where asked for


class Prediction(NamedTuple):
    """One predicted video of the clip."""

    tracks: Tracks
    gap: float  # mean difference of its frame 0 from the truth's, grey levels of 255


def track_truth(
    tracker: Tracker | MaskReader,
    clip: Video,
    annotation: ObjectMasks | None,
    min_area: float,
    again: bool = False,
) -> Truth:
    """Tracks of the true video; structures that a tracker with memory fails to follow are left out.

    annotation: frame 0's masks (1, O, H, W). A `MaskReader` needs only their ids, and without them
    takes all objects of its own first frame. again: also track from the middle (`track_again`).
    """
    if isinstance(tracker, MaskReader):
        ids = None if annotation is None else annotation.ids
        found = read_masks(tracker.folder(clip.path), ids)
        return Truth(found.ids, found.masks[0], _saved(found.masks), found.void, None, {}, None)
    if annotation is None:
        raise ValueError(f"The tracker {tracker.name!r} needs the masks of frame 0.")
    frames, structures = clip.frames(), annotation.masks[0]
    tracks = run_tracker(tracker, frames, structures)
    keep, doubtful = np.ones(len(structures), bool), {}
    if tracker.memory:
        cycle = cycle_iou(tracker, frames, tracks, min_area)
        keep = ~(cycle < MIN_CYCLE)
        for k in np.flatnonzero(~keep):
            doubtful[annotation.ids[k]] = (float(cycle[k]), tracks.masks[:, k])
    ids = tuple(number for number, kept in zip(annotation.ids, keep, strict=True) if kept)
    tracks = Tracks(tracks.masks[:, keep], tracks.evidence[:, keep])
    anew = track_again(tracker, frames, tracks, min_area) if again and keep.any() else None
    return Truth(ids, structures[keep], tracks, None, frames[0].copy(), doubtful, anew)


def track_prediction(tracker: Tracker | MaskReader, clip: Video, truth: Truth) -> Prediction:
    """Tracks of a predicted video of the same clip.

    Frame 0 is shared, so every video is tracked from the truth's, also where a codec or a VAE has
    changed the prediction's copy of it.
    """
    if isinstance(tracker, MaskReader):
        return Prediction(_saved(read_masks(tracker.folder(clip.path), truth.ids).masks), 0.0)
    frames = clip.frames()
    if not truth.ids:  # every structure was doubtful: nothing to follow
        return Prediction(truth.tracks, 0.0)
    gap = float(np.abs(frames[0].astype(np.float32) - truth.first).mean())
    frames[0] = truth.first
    return Prediction(run_tracker(tracker, frames, truth.structures), gap)


def _saved(masks: np.ndarray) -> Tracks:
    return Tracks(masks, np.ones(masks.shape[:2], np.float32))


def run_tracker(tracker: Tracker, frames: np.ndarray, structures: np.ndarray) -> Tracks:
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
