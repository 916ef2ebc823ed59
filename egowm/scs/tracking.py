"""Tracks of a clip's true video and of a prediction of it, from frames or from saved masks."""

from collections.abc import Sequence
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


def track_clip(
    tracker: Tracker | MaskReader,
    truth: Path,
    predictions: Sequence[Path],
    annotation: ObjectMasks | None,
) -> tuple[Truth, list[Prediction]]:
    """Tracks of the true video and of all predictions of it, as a tracker of many videos can."""
    if isinstance(tracker, MaskReader):
        known = track_truth(tracker, truth, annotation)
        return known, [track_prediction(tracker, clip, known) for clip in predictions]
    structures = _structures(tracker, annotation)
    frames = read_frames(truth)
    starts = [_share_first(read_frames(clip), frames[0]) for clip in predictions]
    videos = [frames, *(start.frames for start in starts)]
    tracks = [
        _checked(tracker, found, (len(video), *structures.masks[0].shape))
        for video, found in zip(
            videos,
            tracker.track_many(videos, [structures.masks[0]] * len(videos)),
            strict=True,
        )
    ]
    first = frames[0].copy()
    known = Truth(structures.ids, structures.masks[0], tracks[0], None, first)
    pairs = zip(tracks[1:], starts, strict=True)
    return known, [Prediction(found, start.gap) for found, start in pairs]


def track_truth(tracker: Tracker | MaskReader, clip: Path, annotation: ObjectMasks | None) -> Truth:
    """Tracks of the true video.

    annotation: frame 0's masks (1, O, H, W). A `MaskReader` needs only their ids, and without them
    takes all objects of its own first frame.
    """
    if isinstance(tracker, MaskReader):
        ids = None if annotation is None else annotation.ids
        found = read_masks(tracker.folder(clip), ids)
        return Truth(found.ids, found.masks[0], _saved(found.masks), found.void, None)
    return track_clip(tracker, clip, [], annotation)[0]


def track_prediction(tracker: Tracker | MaskReader, clip: Path, truth: Truth) -> Prediction:
    """Tracks of a predicted video of the same clip.

    Frame 0 is shared, so every video is tracked from the truth's, also where a codec or a VAE has
    changed the prediction's copy of it.
    """
    if isinstance(tracker, MaskReader):
        return Prediction(_saved(read_masks(tracker.folder(clip), truth.ids).masks), 0.0)
    assert truth.first is not None, "a Tracker's truth has its frame 0"
    frames, gap = _share_first(read_frames(clip), truth.first)
    expected = (len(frames), *truth.structures.shape)
    return Prediction(_checked(tracker, tracker.track(frames, truth.structures), expected), gap)


class _Start(NamedTuple):
    """A predicted video that begins with the truth's frame 0, and how far its own was from it."""

    frames: np.ndarray
    gap: float


def _share_first(frames: np.ndarray, first: np.ndarray) -> _Start:
    gap = float(np.abs(frames[0].astype(np.float32) - first).mean())
    frames[0] = first
    return _Start(frames, gap)


def _structures(tracker: Tracker, annotation: ObjectMasks | None) -> ObjectMasks:
    if annotation is None:
        raise ValueError(f"The tracker {tracker.name!r} needs the masks of frame 0.")
    return annotation


def _saved(masks: np.ndarray) -> Tracks:
    return Tracks(masks, np.ones(masks.shape[:2], np.float32))


def _checked(tracker: Tracker, tracks: Tracks, expected: tuple[int, ...]) -> Tracks:
    """Refuse what a tracker of the user's own may get wrong."""
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
