"""Tracks of a clip's true video and of predictions of it, from frames or from saved masks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from egowm.checks import counted
from egowm.scs.clips import Video
from egowm.scs.masks import ObjectMasks, read_masks
from egowm.scs.score import MIN_AREA, Overlap, overlap
from egowm.scs.trackers.base import MIN_KNOWN, MaskReader, Tracker, Tracks

MIN_CYCLE = 0.5  # IoU of a structure followed forth and back; below it its track is doubtful


class Lost(NamedTuple):
    """A structure that is left out."""

    cycle: float  # IoU [0, 1], NaN where it is gone in frame 1 or not known
    known: float  # [0, 1]
    masks: np.ndarray | None  # (T+1, H, W) bool, in the truth; None where not known


class Truth(NamedTuple):
    """What a prediction of the clip is compared with."""

    ids: tuple[int, ...]
    structures: np.ndarray  # (O, H, W) bool: the masks of frame 0
    tracks: Tracks
    void: np.ndarray | None  # (T+1, H, W) bool: pixels not judged, where saved masks have them
    doubtful: dict[int, Lost]  # by id
    again: Overlap | None  # the truth tracked anew from its middle, where asked for


class Prediction(NamedTuple):
    """One predicted video of the clip."""

    tracks: Tracks
    gap: float  # mean difference of its frame 0 from the truth's, grey levels of 255


def track_frames(
    tracker: Tracker,
    frames: np.ndarray,
    predictions: Sequence[np.ndarray],
    annotation: ObjectMasks,
    min_area: float,
    again: bool = False,
) -> tuple[Truth, list[Prediction]]:
    """Tracks of the true video (T+1, H, W, 3) and of predictions of it, all asked for at once.

    Frame 0 is shared, so every video is tracked from the truth's, which is written over the frame 0
    of each prediction: a codec or a VAE may have changed their copy of it. Structures that a
    tracker does not know in frame 0, or with memory fails to follow in the truth, are left out.

    annotation: frame 0's masks (1, O, H, W). again: also track the truth anew (`track_again`).
    """
    structures = annotation.masks[0]
    starts = [_share_first(video, frames[0]) for video in predictions]
    videos = [frames, *(video for video, _ in starts)]
    known = _known(tracker, frames[0], structures)
    keep, doubtful = known >= MIN_KNOWN, {}
    for k in np.flatnonzero(~keep):
        doubtful[annotation.ids[k]] = Lost(np.nan, float(known[k]), None)
    follow = run_tracker if keep.any() else _nothing
    tracks, *others = follow(tracker, videos, structures)
    if tracker.memory and keep.any():
        cycle = np.full(len(structures), np.nan)
        cycle[keep] = cycle_iou(tracker, frames, _chosen(tracks, keep), min_area)
        for k in np.flatnonzero(cycle < MIN_CYCLE):
            doubtful[annotation.ids[k]] = Lost(float(cycle[k]), float(known[k]), tracks.masks[:, k])
        keep &= ~(cycle < MIN_CYCLE)
    ids = tuple(number for number, kept in zip(annotation.ids, keep, strict=True) if kept)
    tracks = _chosen(tracks, keep)
    anew = track_again(tracker, frames, tracks, min_area) if again and keep.any() else None
    found = [
        Prediction(_chosen(made, keep), gap) for made, (_, gap) in zip(others, starts, strict=True)
    ]
    return Truth(ids, structures[keep], tracks, None, doubtful, anew), found


def read_tracks(
    tracker: MaskReader,
    clip: Video,
    predictions: Sequence[Video],
    annotation: ObjectMasks | None,
) -> tuple[Truth, list[Prediction]]:
    """Tracks of the true video `clip` and of `predictions` of it, from masks on disk.

    annotation: whose ids are wanted; without it, all objects of the truth's own first frame.
    """
    ids = None if annotation is None else annotation.ids
    truth = read_masks(tracker.folder(clip.path), ids)
    saved = [read_masks(tracker.folder(video.path), truth.ids).masks for video in predictions]
    known = Truth(truth.ids, truth.masks[0], _trusted(truth.masks), truth.void, {}, None)
    return known, [Prediction(_trusted(masks), 0.0) for masks in saved]


def compare(
    tracks: Tracks, truth: Truth, tracker: Tracker | MaskReader, min_area: float
) -> Overlap:
    """A frame is lost where the prediction has no evidence although the truth has."""
    if not truth.ids:  # every structure was doubtful
        num_frames, pixels = len(tracks.masks) - 1, int(np.prod(tracks.masks.shape[2:]))
        none = np.zeros((0, num_frames), np.int64)
        return Overlap(none, none, none, none > 0, np.zeros(num_frames, np.int64), pixels)
    lost = without_evidence(tracker, tracks) & ~without_evidence(tracker, truth.tracks)
    masks = tracks.masks if truth.void is None else tracks.masks & ~truth.void[:, None]
    return overlap(masks, truth.tracks.masks, min_area=min_area, lost=lost)


def without_evidence(tracker: Tracker | MaskReader, tracks: Tracks) -> np.ndarray:
    """(T+1, O) bool: the track is not to be trusted there."""
    least = tracker.min_evidence if isinstance(tracker, Tracker) else 0.0
    return tracks.evidence < least


def cycle_iou(
    tracker: Tracker, frames: np.ndarray, tracks: Tracks, min_area: float = MIN_AREA
) -> np.ndarray:
    """IoU (O,) of each structure's mask in frame 0 with itself, followed to frame L and back.

    L is the last frame before the structure first leaves the view (or is lost), so that a fast
    turn, which loses half of them rightly, casts no doubt. A structure that is gone in frame 1
    cannot be judged and has NaN. frames: (T+1, H, W, 3) of the truth; tracks: of the same video.
    """
    last = last_seen(tracker, tracks, min_area)
    found = np.full(tracks.masks.shape[1], np.nan)
    for end in np.unique(last[last > 0]):
        chosen = np.flatnonzero(last == end)
        back = tracker.track(frames[end::-1].copy(), tracks.masks[end, chosen].copy())
        first, again = tracks.masks[0, chosen], back.masks[end]
        union = (first | again).sum((1, 2))
        found[chosen] = (first & again).sum((1, 2)) / np.maximum(union, 1)
    return found


def last_seen(tracker: Tracker, tracks: Tracks, min_area: float = MIN_AREA) -> np.ndarray:
    """(O,) the frame before each structure first is empty or without evidence."""
    area = tracks.masks.mean((2, 3))
    there = (area >= max(min_area, 1e-12)) & (tracks.evidence >= tracker.min_evidence)
    there[0] = True
    return there.cumprod(axis=0).sum(axis=0) - 1


def track_again(
    tracker: Tracker, frames: np.ndarray, tracks: Tracks, min_area: float = MIN_AREA
) -> Overlap | None:
    """The truth against itself, tracked anew from its own masks in the middle, forth and back.

    What a perfect prediction could lose to the tracker alone. Structures that are out of view in
    the middle are left out, and the middle frame, which is 100 by construction, and frame 0 are not
    scored. None where no structure is in view, or nothing is left to score.
    """
    middle = (len(frames) - 1) // 2
    seen = np.flatnonzero(tracks.masks[middle].mean((1, 2)) >= max(min_area, 1e-12))
    if not len(seen) or len(frames) < 3:
        return None
    masks = tracks.masks[middle, seen].copy()
    ahead = tracker.track(frames[middle:].copy(), masks)
    kept = np.arange(len(frames)) != middle
    kept[0] = True
    found = tracks.masks[:, seen].copy()
    found[middle:] = ahead.masks
    if middle:
        back = tracker.track(frames[middle::-1].copy(), masks)
        found[: middle + 1] = back.masks[::-1]
    return overlap(found[kept], tracks.masks[:, seen][kept], min_area=min_area)


def run_tracker(
    tracker: Tracker, videos: Sequence[np.ndarray], structures: np.ndarray
) -> list[Tracks]:
    """Track in all videos, and refuse what a tracker of the user's own may get wrong."""
    found = tracker.track_many(videos, [structures] * len(videos))
    if len(found) != len(videos):
        raise ValueError(
            f"Expected tracks of {counted(len(videos), 'video')} from the tracker "
            f"{tracker.name!r}, got {len(found)}."
        )
    for frames, tracks in zip(videos, found, strict=True):
        _check(tracker, tracks, (len(frames), *structures.shape))
    return found


def _nothing(
    tracker: Tracker, videos: Sequence[np.ndarray], structures: np.ndarray
) -> list[Tracks]:
    """In place of `run_tracker`, where no structure is known: nothing is found."""
    shapes = [(len(frames), *structures.shape) for frames in videos]
    return [Tracks(np.zeros(s, bool), np.zeros(s[:2], np.float32)) for s in shapes]


def _known(tracker: Tracker, frame: np.ndarray, structures: np.ndarray) -> np.ndarray:
    """What the tracker says (O,) it knows of them."""
    known = np.asarray(tracker.knows(frame, structures))
    if known.shape != (len(structures),) or not ((known >= 0) & (known <= 1)).all():
        raise ValueError(
            f"Expected {counted(len(structures), 'number')} in [0, 1] from `knows` of the tracker "
            f"{tracker.name!r}, got {known}."
        )
    return known


def _check(tracker: Tracker, tracks: Tracks, expected: tuple[int, ...]) -> None:
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


def _trusted(masks: np.ndarray) -> Tracks:
    return Tracks(masks, np.ones(masks.shape[:2], np.float32))


def _share_first(frames: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, float]:
    """A prediction that begins with the truth's frame 0, and how far its own was from it."""
    gap = float(np.abs(frames[0].astype(np.float32) - first).mean())
    frames[0] = first
    return frames, gap


def _chosen(tracks: Tracks, keep: np.ndarray) -> Tracks:
    return Tracks(tracks.masks[:, keep], tracks.evidence[:, keep])
