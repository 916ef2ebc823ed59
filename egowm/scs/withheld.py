"""Scores that are not given, because the tracker knows too few of the structures."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from egowm.scs.clip_result import ClipResult, Geometry, Sample
from egowm.scs.score import Overlap
from egowm.scs.trackers.base import MIN_KNOWN


def num_unknown(clips: Sequence[ClipResult]) -> int:
    """How many structures the tracker does not know in frame 0."""
    return sum(lost.known < MIN_KNOWN for clip in clips for lost in clip.doubtful)


def is_withheld(clips: Sequence[ClipResult]) -> bool:
    """Whether these are most of the structures of all clips: the few that are left are those that
    a tracker seems to follow because they hardly move."""
    everything = sum(len(clip.ids) + len(clip.doubtful) for clip in clips)
    return 2 * num_unknown(clips) > everything


def emptied(clip: ClipResult) -> ClipResult:
    """The clip without any structure, hence without a score."""
    samples = tuple(
        Sample(without(one.overlap), one.evidence[:0], Geometry(*(x[:0] for x in one.geometry)))
        for one in clip.samples
    )
    copied = None if clip.copy_iou is None else clip.copy_iou[:0]
    return replace(clip, ids=(), samples=samples, copy=float("nan"), copy_iou=copied)


def without(found: Overlap) -> Overlap:
    """The overlap of no structure in as many frames."""
    return found._replace(
        intersection=found.intersection[:0],
        pred=found.pred[:0],
        target=found.target[:0],
        lost=found.lost[:0],
        covered=np.zeros_like(found.covered),
    )
