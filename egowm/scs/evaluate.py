"""Score folders of clips: track the structures in truth and prediction, and compare."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from egowm.scs.annotations import find_annotations, read_annotation, refuse_without
from egowm.scs.protocol import describe_protocol, environment, hash_structures
from egowm.scs.result import ClipResult, Result, independent_units, make_row
from egowm.scs.score import MIN_AREA, Overlap, overlap
from egowm.scs.trackers import MaskReader, Tracker, load_tracker
from egowm.scs.trackers.base import Tracks
from egowm.scs.trackers.copy import repeat
from egowm.scs.tracking import Truth, track_clip
from egowm.scs.videos import VIDEOS, ClipShape, check_match, find_clips, read_shape

logger = logging.getLogger(__name__)

_SHARED_GAP = 16.0  # grey levels by which a codec or VAE may change frame 0


class _Inputs(NamedTuple):
    """What was found on disk, checked; every mapping is by clip name."""

    gt: dict[str, Path]
    shapes: dict[str, ClipShape]
    pred: dict[str, Path]
    ceiling: dict[str, Path] | None
    annotations: dict[str, Path] | None
    trajectories: Mapping[str, str] | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), the same for all clips."""
        (size,) = {size for shape in self.shapes.values() for size in shape.sizes}
        return size

    @property
    def groups(self) -> list[str] | None:
        """The trajectory of each clip."""
        known = self.trajectories
        return None if known is None else [known[name] for name in self.gt]


class _Scored(NamedTuple):
    """One clip, compared."""

    result: ClipResult
    copy: Overlap
    ceiling: Overlap | None
    structures: str  # their hash
    num_lost_truth: int
    gap: float


def score_folders(
    pred: str | Path,
    gt: str | Path,
    annotations: str | Path | None = None,
    *,
    tracker: str | Tracker | MaskReader,
    ceiling_codec: str | Path | None = None,
    trajectories: Mapping[str, str] | None = None,
    min_area: float = MIN_AREA,
    progress: bool = False,
) -> Result:
    """Score every clip of `pred` against `gt`: frame 0 shared, frames 1..T compared.

    annotations: folder with the structures of frame 0, one file per clip; not needed where masks
    are read from disk (there it selects ids). tracker: a short name, a class path or an object.
    ceiling_codec: the truth through a codec or VAE, clips as in `gt`. trajectories: clip ->
    recording it was cut from; intervals then draw whole recordings. min_area: share of the frame
    below which a mask counts as empty.

    Raises ValueError or FileNotFoundError, naming every clip, frame or file that does not fit.
    """
    if isinstance(tracker, str):
        tracker = load_tracker(tracker)
    if isinstance(tracker, Tracker) and annotations is None:
        raise refuse_without(tracker.name)
    inputs = _gather(tracker, Path(pred), Path(gt), ceiling_codec, annotations, trajectories)
    if tracker.warning:
        logger.warning("%s", tracker.warning)
    scored = []
    for name in tqdm(inputs.gt, "scoring", unit="clip", disable=None if progress else True):
        try:
            scored.append(_score_clip(name, inputs, tracker, min_area))
        except ValueError as error:
            raise ValueError(f"Clip {name}: {error}") from error
    _warn_of_gaps(scored)
    return _assemble(scored, inputs, tracker, min_area)


def _gather(
    tracker: Tracker | MaskReader,
    pred: Path,
    gt: Path,
    ceiling_codec: str | Path | None,
    annotations: str | Path | None,
    trajectories: Mapping[str, str] | None,
) -> _Inputs:
    """Find all clips and refuse, before any work, what does not match."""
    truth, shapes = _read_folder(gt, tracker)
    predicted, predicted_shapes = _read_folder(pred, tracker)
    check_match(shapes, predicted_shapes, (str(gt), str(pred)))
    ceiling = None
    if ceiling_codec is not None:
        ceiling, ceiling_shapes = _read_folder(Path(ceiling_codec), tracker)
        check_match(shapes, ceiling_shapes, (str(gt), str(ceiling_codec)))
    unknown = [name for name in truth if trajectories is not None and name not in trajectories]
    if unknown:
        raise ValueError(f"{len(unknown)} clips have no trajectory: {', '.join(unknown[:10])}.")
    drawn = None if annotations is None else find_annotations(annotations, truth)
    return _Inputs(truth, shapes, predicted, ceiling, drawn, trajectories)


def _read_folder(
    root: Path, tracker: Tracker | MaskReader
) -> tuple[dict[str, Path], dict[str, ClipShape]]:
    if isinstance(tracker, MaskReader):
        paths = find_clips(root, (".npz",))
        return paths, {name: read_shape(tracker.folder(path)) for name, path in paths.items()}
    paths = find_clips(root, VIDEOS)
    return paths, {name: read_shape(path) for name, path in paths.items()}


def _score_clip(
    name: str, inputs: _Inputs, tracker: Tracker | MaskReader, min_area: float
) -> _Scored:
    drawn = inputs.annotations
    annotation = None if drawn is None else read_annotation(drawn[name], inputs.size)
    others = [inputs.pred[name], *([] if inputs.ceiling is None else [inputs.ceiling[name]])]
    truth, tracked = track_clip(tracker, inputs.gt[name], others, annotation)
    prediction, ceilings = tracked[0], tracked[1:]
    known = inputs.trajectories
    result = ClipResult(
        name=name,
        trajectory=None if known is None else known[name],
        ids=truth.ids,
        overlap=_compare(prediction.tracks, truth, tracker, min_area),
        evidence=prediction.tracks.evidence[1:].T,
    )
    return _Scored(
        result=result,
        copy=_compare(repeat(truth.structures, len(truth.tracks.masks)), truth, tracker, min_area),
        ceiling=_compare(ceilings[0].tracks, truth, tracker, min_area) if ceilings else None,
        structures=hash_structures(truth.ids, truth.structures),
        num_lost_truth=int(_no_evidence(tracker, truth.tracks)[1:].sum()),
        gap=prediction.gap,
    )


def _compare(
    tracks: Tracks, truth: Truth, tracker: Tracker | MaskReader, min_area: float
) -> Overlap:
    """A frame is lost where the prediction has no evidence although the truth has."""
    lost = _no_evidence(tracker, tracks) & ~_no_evidence(tracker, truth.tracks)
    masks = tracks.masks if truth.void is None else tracks.masks & ~truth.void[:, None]
    return overlap(masks, truth.tracks.masks, min_area=min_area, lost=lost)


def _no_evidence(tracker: Tracker | MaskReader, tracks: Tracks) -> np.ndarray:
    least = tracker.min_evidence if isinstance(tracker, Tracker) else 0.0
    return tracks.evidence < least


def _warn_of_gaps(scored: Sequence[_Scored]) -> None:
    apart = [clip for clip in scored if clip.gap > _SHARED_GAP]
    if apart:
        worst = max(apart, key=lambda clip: clip.gap)
        logger.warning(
            "frame 0 should be shared, but it differs by more than %g grey levels in %d of %d "
            "clips (%s by %.0f): another crop, other clips, or numbering without frame 0",
            _SHARED_GAP, len(apart), len(scored), worst.result.name, worst.gap,
        )  # fmt: skip


def _assemble(
    scored: Sequence[_Scored], inputs: _Inputs, tracker: Tracker | MaskReader, min_area: float
) -> Result:
    groups = inputs.groups
    prediction = make_row([clip.result.overlap for clip in scored], groups)
    ceilings = [clip.ceiling for clip in scored if clip.ceiling is not None]
    protocol = describe_protocol(
        tracker,
        {name: shape.num_frames for name, shape in inputs.shapes.items()},
        {clip.result.name: clip.structures for clip in scored},
        inputs.size,
        min_area,
    )
    return Result(
        prediction=prediction,
        copy=make_row([clip.copy for clip in scored], groups),
        ceiling_codec=make_row(ceilings, groups) if ceilings else None,
        clips=[clip.result for clip in scored],
        num_units=independent_units(prediction, groups),
        unit="clips" if groups is None else "trajectories",
        num_lost_truth=sum(clip.num_lost_truth for clip in scored),
        protocol=protocol,
        environment=environment(tracker),
        warning=tracker.warning,
    )
