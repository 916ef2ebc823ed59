"""Score folders of clips: track the structures in truth and prediction, and compare."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from egowm.checks import check_between, checked, counted
from egowm.scs.annotation.annotations import read_annotation
from egowm.scs.bootstrap import num_independent
from egowm.scs.clip_result import ClipResult, Doubtful, Sample, geometry
from egowm.scs.inputs import Inputs, gather, prepare
from egowm.scs.protocol import describe_protocol, environment, hash_structures
from egowm.scs.reanchor import Parts, score_parts, summarise_parts
from egowm.scs.result import Result, make_row
from egowm.scs.score import MIN_AREA, Overlap, clip_score, overlap
from egowm.scs.trackers import MaskReader, Tracker
from egowm.scs.trackers.simple import repeat
from egowm.scs.tracking import Truth, compare, read_tracks, track_frames, without_evidence
from egowm.scs.withheld import emptied, is_withheld, without
from egowm.shares import items_of, share_of

logger = logging.getLogger(__name__)
_WARNED: set[str] = set()  # trackers' words that were logged

_SHARED_GAP = 16.0  # grey levels by which a codec or VAE may change frame 0


class _Scored(NamedTuple):
    """One clip, compared."""

    result: ClipResult
    copy: Overlap
    ceiling: Overlap | None
    again: Overlap | None
    structures: str  # their hash
    num_lost_truth: int
    gap: float
    parts: Parts | None  # annotated anew on the way, where asked for


@checked
def score_folders(
    pred: str | Path,
    gt: str | Path,
    annotations: str | Path | None = None,
    *,
    tracker: str | Tracker | MaskReader,
    ceiling_codec: str | Path | None = None,
    ceiling_tracker: bool = False,
    trajectories: Mapping[str, str] | None = None,
    first: str | Path | None = None,
    cache: str | Path | None = None,
    reanchor: str | Path | None = None,
    min_area: float = MIN_AREA,
    progress: bool = False,
) -> Result:
    """Score every clip of `pred` against `gt`: frame 0 shared, frames 1..T compared.

    Args:
        pred: Folder of the predicted clips.
        gt: Folder of the true clips, of the same names.
        annotations: Folder with the structures of frame 0, one file per clip; not needed where
            masks are read from disk (there it selects ids).
        tracker: A short name, a class path or an object.
        ceiling_codec: Folder of the truth through a codec or VAE, clips as in `gt`.
        ceiling_tracker: Also track the truth anew from its middle.
        trajectories: Clip -> recording it was cut from; intervals then draw whole recordings.
        first: Folder with frames 0, where the videos lack them.
        cache: Folder that keeps tracks; by default none are kept.
        reanchor: Folder with structures of later true frames, from which to track anew.
        min_area: Share of the frame, 0 to 1, below which a mask counts as empty.
        progress: Show a bar.

    Raises:
        ValueError: Names every clip or frame that does not fit.
        FileNotFoundError: Names every file that is missing.

    >>> from tempfile import TemporaryDirectory
    >>> from egowm.scs.masks import write_palette
    >>> wall = np.zeros((32, 32), np.uint8)
    >>> wall[:, 8:24] = 1
    >>> with TemporaryDirectory() as folder:
    ...     for video, shift in (("gt", 0), ("pred", 8)):  # predicted half its width aside
    ...         for frame in range(3):
    ...             shown = np.roll(wall, shift if frame else 0, axis=1)
    ...             write_palette(f"{folder}/{video}/clip/{frame:05d}.png", shown)
    ...     result = score_folders(f"{folder}/pred", f"{folder}/gt", tracker="masks")
    >>> round(result.scs, 2)
    33.33
    """
    check_between("min_area", min_area, 0.0, 1.0)
    tracker = prepare(tracker, annotations, cache)
    inputs = gather(tracker, Path(pred), Path(gt), ceiling_codec, annotations, trajectories, first)
    inputs = inputs.with_anchors(tracker, reanchor)
    if tracker.warning and tracker.warning not in _WARNED:  # once, not for each row of a table
        _WARNED.add(tracker.warning)
        logger.warning("%s", tracker.warning)
    scored = []
    for name in tqdm(inputs.gt, "scoring", unit="clip", disable=None if progress else True):
        try:
            scored.append(_score_clip(name, inputs, tracker, min_area, ceiling_tracker))
        except ValueError as error:
            raise ValueError(f"Clip {name}: {error}") from error
    _warn_of_gaps(scored)
    if is_withheld([clip.result for clip in scored]):
        scored = [_emptied(clip) for clip in scored]
    return _assemble(scored, inputs, tracker, min_area)


@checked
def track_shard(
    part: str,
    pred: str | Path,
    gt: str | Path,
    annotations: str | Path,
    *,
    tracker: str | Tracker,
    cache: str | Path,
    ceiling_codec: str | Path | None = None,
    ceiling_tracker: bool = False,
    first: str | Path | None = None,
    reanchor: str | Path | None = None,
    min_area: float = MIN_AREA,
    progress: bool = False,
) -> int:
    """Fill `cache` with the tracks of the clips of shard `part` ("1/4"); how many these are.

    The rest as in `score_folders`, which then finds them there.
    """
    follow = prepare(tracker, annotations, cache)
    if not isinstance(follow, Tracker):
        raise ValueError(
            f"--shard: {follow.name!r} reads masks from disk; there is no work to cut."
        )
    inputs = gather(follow, Path(pred), Path(gt), ceiling_codec, annotations, None, first)
    inputs = inputs.with_anchors(follow, reanchor)
    names = items_of(share_of(part), list(inputs.gt))
    for name in tqdm(names, f"shard {part}", unit="clip", disable=None if progress else True):
        _score_clip(name, inputs, follow, min_area, ceiling_tracker)
    return len(names)


def _score_clip(
    name: str, inputs: Inputs, tracker: Tracker | MaskReader, min_area: float, again: bool
) -> _Scored:
    drawn = inputs.annotations
    annotation = None if drawn is None else read_annotation(drawn[name], inputs.size)
    others = [*inputs.pred[name], *([] if inputs.ceiling is None else [inputs.ceiling[name]])]
    parts = None
    if isinstance(tracker, MaskReader):
        truth, tracked = read_tracks(tracker, inputs.gt[name], others, annotation)
    else:
        assert annotation is not None, "`prepare` refuses a tracker without annotations"
        frames, videos = inputs.gt[name].frames(), [video.frames() for video in others]
        truth, tracked = track_frames(tracker, frames, videos, annotation, min_area, again)
        if inputs.anchors is not None:
            videos = videos[: len(inputs.pred[name])]
            parts = score_parts(tracker, frames, videos, annotation, inputs.anchors[name], min_area)
    samples, gap = [], 0.0
    for prediction in tracked[: len(inputs.pred[name])]:
        tracks = prediction.tracks
        found = compare(tracks, truth, tracker, min_area)
        shown = geometry(tracks.masks, truth.tracks.masks, found)
        samples.append(Sample(found, tracks.evidence[1:].T, shown))
        gap = max(gap, prediction.gap)
    ceiling = None
    if inputs.ceiling is not None:
        ceiling = compare(tracked[-1].tracks, truth, tracker, min_area)
    known = inputs.trajectories
    copy = compare(repeat(truth.structures, len(truth.tracks.masks)), truth, tracker, min_area)
    result = ClipResult(
        name=name,
        trajectory=None if known is None else known[name],
        ids=truth.ids,
        samples=tuple(samples),
        copy=clip_score(copy.iou()),
        doubtful=_doubtful(truth, min_area),
        copy_iou=copy.iou(),
    )
    return _Scored(
        result=result,
        copy=copy,
        ceiling=ceiling,
        again=truth.again,
        structures=hash_structures(truth.ids, truth.structures),
        num_lost_truth=int(without_evidence(tracker, truth.tracks)[1:].sum()),
        gap=gap,
        parts=parts,
    )


def _emptied(clip: _Scored) -> _Scored:
    """Without any structure."""
    ceiling = None if clip.ceiling is None else without(clip.ceiling)
    left = clip._replace(result=emptied(clip.result), copy=without(clip.copy), ceiling=ceiling)
    return left._replace(again=None, parts=None, num_lost_truth=0)


def _doubtful(truth: Truth, min_area: float) -> tuple[Doubtful, ...]:
    """What was left out, and how much it moved: 100 minus the score of a copy of frame 0."""
    found = []
    for number, lost in truth.doubtful.items():
        still = float("nan")
        if lost.masks is not None:
            moving = lost.masks[:, None]
            copied = np.broadcast_to(moving[:1], moving.shape)
            still = clip_score(overlap(copied, moving, min_area=min_area).iou())
        found.append(Doubtful(number, lost.cycle, lost.known, 100 - still))
    return tuple(found)


def _warn_of_gaps(scored: Sequence[_Scored]) -> None:
    apart = [clip for clip in scored if clip.gap > _SHARED_GAP]
    if apart:
        worst = max(apart, key=lambda clip: clip.gap)
        logger.warning(
            "frame 0 should be shared, but it differs by more than %g grey levels in %d of %s "
            "(%s by %.0f): another crop, other clips, or numbering without frame 0",
            _SHARED_GAP, len(apart), counted(len(scored), "clip"), worst.result.name, worst.gap,
        )  # fmt: skip


def _assemble(
    scored: Sequence[_Scored], inputs: Inputs, tracker: Tracker | MaskReader, min_area: float
) -> Result:
    groups = inputs.groups
    pairs = [(k, s.overlap) for k, clip in enumerate(scored) for s in clip.result.samples]
    prediction = make_row([found for _, found in pairs], groups, [k for k, _ in pairs])
    ceilings = [clip.ceiling for clip in scored if clip.ceiling is not None]
    anew = [(k, clip.again) for k, clip in enumerate(scored) if clip.again is not None]
    again = make_row([found for _, found in anew], None, None) if anew else None
    parts = {clip.result.name: clip.parts for clip in scored if clip.parts is not None}
    apart = any(video.first is not None for video in inputs.gt.values())
    protocol = describe_protocol(
        tracker,
        {name: shape.num_frames for name, shape in inputs.shapes.items()},
        {clip.result.name: clip.structures for clip in scored},
        inputs.size,
        min_area,
        "frame 0 apart, stretched to the frames" if apart else "none",
        None if inputs.anchors is None else {n: p.structures for n, p in parts.items()},
    )
    return Result(
        prediction=prediction,
        copy=make_row([clip.copy for clip in scored], groups),
        ceiling_codec=make_row(ceilings, groups) if ceilings else None,
        ceiling_tracker=again,
        reanchored=summarise_parts([*parts.values()], groups) if parts else None,
        clips=[clip.result for clip in scored],
        num_units=num_independent(prediction.summary.clip_scs, groups),
        unit="clips" if groups is None else "trajectories",
        num_lost_truth=sum(clip.num_lost_truth for clip in scored),
        protocol=protocol,
        environment=environment(tracker),
        warning=tracker.warning,
    )
