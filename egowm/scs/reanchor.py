"""The score with structures annotated anew on the way: what frame 0 did not show counts too.

The structures of each anchor, a true frame, are followed to the next anchor and compared as those
of frame 0 are. Every part of a prediction begins with the truth's frame, but what follows is the
prediction as it is: an error made before the anchor stays one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.scs.annotation.annotations import read_annotation
from egowm.scs.bootstrap import interval
from egowm.scs.clip_result import number
from egowm.scs.masks import ObjectMasks
from egowm.scs.protocol import hash_structures
from egowm.scs.score import Overlap, by_clip, mean_defined
from egowm.scs.trackers.base import Tracker
from egowm.scs.trackers.simple import repeat
from egowm.scs.tracking import compare, track_frames


class Parts(NamedTuple):
    """One clip, cut at its anchors."""

    samples: tuple[tuple[Overlap, ...], ...]  # of every predicted video, every part
    copy: tuple[Overlap, ...]  # the anchor's masks repeated
    structures: str  # the hash of each anchor's


class Reanchored(NamedTuple):
    """The mean over a data set, as the headline is."""

    scs: float
    ci95: tuple[float, float] | None
    copy: float  # the last anchor repeated
    coverage: float  # mean share of the true frames inside structures, [0, 1]

    def to_json(self) -> dict[str, Any]:
        """Its part of scs.json."""
        ends = None if self.ci95 is None else [number(end) for end in self.ci95]
        scores = {"scs": number(self.scs), "ci95": ends, "copy": number(self.copy)}
        return {**scores, "coverage": number(self.coverage)}


def score_parts(
    tracker: Tracker,
    frames: np.ndarray,
    predictions: Sequence[np.ndarray],
    annotation: ObjectMasks,
    anchors: Mapping[int, Path],
    min_area: float,
) -> Parts:
    """Track and compare every part of videos (T+1, H, W, 3).

    annotation: frame 0's masks, anchors: files of later frames.
    """
    size = (frames.shape[1], frames.shape[2])
    drawn = {0: annotation} | {k: read_annotation(anchors[k], size) for k in sorted(anchors)}
    starts, ends = [*drawn], [*sorted(anchors), len(frames) - 1]
    samples: list[list[Overlap]] = [[] for _ in predictions]
    copies: list[Overlap] = []
    for start, end in zip(starts, ends, strict=True):
        cut = slice(start, end + 1)
        truth, found = track_frames(
            tracker,
            frames[cut],
            [video[cut].copy() for video in predictions],
            drawn[start],
            min_area,
        )
        for kept, prediction in zip(samples, found, strict=True):
            kept.append(compare(prediction.tracks, truth, tracker, min_area))
        still = repeat(truth.structures, end + 1 - start)
        copies.append(compare(still, truth, tracker, min_area))
    hashes = [f"{k} {hash_structures(a.ids, a.masks[0])}" for k, a in drawn.items()]
    return Parts(tuple(map(tuple, samples)), tuple(copies), "; ".join(hashes))


def summarise_parts(clips: Sequence[Parts], groups: Sequence[str] | None) -> Reanchored:
    """Frames, then structures of all parts, then samples, then clips are averaged."""
    owner = np.repeat(np.arange(len(clips)), [len(parts.samples) for parts in clips])
    values = [_score(sample) for parts in clips for sample in parts.samples]
    scores = by_clip(values, owner)
    shares = [
        sum(o.covered.sum() for o in p.copy) / sum(len(o.covered) * o.num_pixels for o in p.copy)
        for p in clips
    ]
    return Reanchored(
        scs=float(mean_defined(scores)),
        ci95=interval(scores, groups),
        copy=float(mean_defined(np.array([_score(parts.copy) for parts in clips]))),
        coverage=float(np.mean(shares)),
    )


def _score(parts: Sequence[Overlap]) -> float:
    means = [mean_defined(part.iou(), axis=1) for part in parts]
    return 100 * float(mean_defined(np.concatenate(means)))
