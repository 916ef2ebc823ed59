"""What a scoring reads: every clip found and checked before any work begins."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from egowm.checks import counted
from egowm.scs.annotation.annotations import find_anchors, find_annotations, refuse_without
from egowm.scs.cache import CachedTracker
from egowm.scs.clips import (
    ClipShape,
    Role,
    Video,
    find_clips,
    find_videos,
    group_samples,
    read_shape,
)
from egowm.scs.masks import MASKS
from egowm.scs.trackers import MaskReader, Tracker, load_tracker

_LISTED = 10  # names in one message


class Inputs(NamedTuple):
    """What was found on disk, checked; every mapping is by clip name."""

    gt: dict[str, Video]
    shapes: dict[str, ClipShape]
    pred: dict[str, tuple[Video, ...]]  # the samples of a clip
    ceiling: dict[str, Video] | None
    annotations: dict[str, Path] | None
    trajectories: Mapping[str, str] | None
    anchors: dict[str, dict[int, Path]] | None = None  # structures of later frames, by frame

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

    def with_anchors(self, tracker: Tracker | MaskReader, root: str | Path | None) -> "Inputs":
        """With the annotations of later frames in `root`, if it is given."""
        if root is None:
            return self
        if isinstance(tracker, MaskReader):
            raise ValueError(
                f"--reanchor: {tracker.name!r} reads masks from disk; there is nothing to follow."
            )
        lengths = {name: shape.num_frames for name, shape in self.shapes.items()}
        return self._replace(anchors=find_anchors(Path(root), lengths))


def prepare(
    tracker: str | Tracker | MaskReader,
    annotations: str | Path | None,
    cache: str | Path | None = None,
) -> Tracker | MaskReader:
    """The tracker itself, keeping its tracks in `cache`; refused where it lacks annotations."""
    if isinstance(tracker, str):
        tracker = load_tracker(tracker)
    if isinstance(tracker, MaskReader):
        return tracker
    if annotations is None:
        raise refuse_without(tracker.name)
    return tracker if cache is None else CachedTracker(tracker, Path(cache))


def gather(
    tracker: Tracker | MaskReader,
    pred: Path,
    gt: Path,
    ceiling_codec: str | Path | None = None,
    annotations: str | Path | None = None,
    trajectories: Mapping[str, str] | None = None,
    first: str | Path | None = None,
) -> Inputs:
    """Find all clips and refuse, before any work, what does not match."""
    truth = _find(gt, "GT", tracker, first)
    shapes = {name: _shape(video, tracker) for name, video in truth.items()}
    found = _find(pred, "pred", tracker, first=None)
    owner, samples = group_samples(truth, found)
    if any(video.first is not None for video in truth.values()):  # the truth's, for every video
        pairs = ((name, owner[name]) for name in found)
        shared = {name: truth[clip].first for name, clip in pairs if clip in truth}
        found = {name: v._replace(first=shared.get(name, v.first)) for name, v in found.items()}
        owner, samples = group_samples(truth, found)
    wanted = {name: shapes[clip] for name, clip in owner.items() if clip in shapes}
    wanted |= {name: shape for name, shape in shapes.items() if name not in samples}
    check_match(wanted, {n: _shape(v, tracker) for n, v in found.items()}, (str(gt), str(pred)))
    ceiling = None
    if ceiling_codec is not None:
        ceiling = _find(Path(ceiling_codec), "pred", tracker, first=None)
        ceiling = {
            n: v._replace(first=truth[n].first) if n in truth else v for n, v in ceiling.items()
        }
        passed = {name: _shape(video, tracker) for name, video in ceiling.items()}
        check_match(shapes, passed, (str(gt), str(ceiling_codec)))
    if trajectories is None and all(video.trajectory for video in truth.values()):
        trajectories = {name: str(video.trajectory) for name, video in truth.items()}
    unknown = [name for name in truth if trajectories is not None and name not in trajectories]
    if unknown:
        clips = counted(len(unknown), "clip has", "clips have")
        raise ValueError(f"{clips} no trajectory: {', '.join(unknown[:10])}.")
    drawn = None if annotations is None else find_annotations(annotations, truth)
    return Inputs(truth, shapes, samples, ceiling, drawn, trajectories)


def check_match(
    truth: Mapping[str, ClipShape], other: Mapping[str, ClipShape], names: tuple[str, str]
) -> None:
    """Raise one ValueError that lists every difference between two sets of clips.

    names: what to call the two in the message. The same clips, frame numbers and size are expected,
    two frames or more, without gaps, and one size for all clips.
    """
    gt, pred = names
    problems = [
        _listing(f"only in {gt}", truth.keys() - other.keys()),
        _listing(f"only in {pred}", other.keys() - truth.keys()),
    ]
    for name in truth.keys() & other.keys():
        problems.append(_difference(name, truth[name], other[name], names))
    sizes = {size for shape in truth.values() for size in shape.sizes}
    if len(sizes) > 1:
        problems.append(f"{gt} holds clips of several sizes: {_text(sizes)}")
    found = sorted(filter(None, problems))
    if found:
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ValueError(f"{pred} does not match {gt}: " + "; ".join(found[:_LISTED]) + more)


def _find(
    root: Path, role: Role, tracker: Tracker | MaskReader, first: str | Path | None
) -> dict[str, Video]:
    if isinstance(tracker, MaskReader):
        return {name: Video(path) for name, path in find_clips(root, MASKS).items()}
    return find_videos(root, role, first)


def _shape(video: Video, tracker: Tracker | MaskReader) -> ClipShape:
    if isinstance(tracker, MaskReader):
        return read_shape(tracker.folder(video.path))
    return video.shape()


def _difference(name: str, truth: ClipShape, other: ClipShape, names: tuple[str, str]) -> str:
    """What is wrong with one clip, or ""."""
    gt, pred = names
    if truth.num_frames != other.num_frames:
        missing = ""
        if truth.numbers and other.numbers:
            lacking = set(truth.numbers) ^ set(other.numbers)
            missing = f" (not in both: {_short(sorted(lacking))})"
        return (
            f"{name} has {counted(truth.num_frames, 'frame')} in {gt}, {other.num_frames} in "
            f"{pred}{missing}"
        )
    if truth.num_frames < 2:
        return f"{name} has one frame; expected the shared frame and at least one more"
    if truth.numbers and other.numbers and truth.numbers != other.numbers:
        return (
            f"{name} has frames {_short(truth.numbers)} in {gt}, {_short(other.numbers)} in {pred}"
        )
    for where, shape in ((gt, truth), (pred, other)):
        numbers = shape.numbers
        if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
            lacking = set(range(numbers[0], numbers[-1])) - set(numbers)
            return f"{name} lacks frames {_short(sorted(lacking))} in {where}"
    if len(truth.sizes | other.sizes) > 1:
        return f"{name} is {_text(truth.sizes)} in {gt}, {_text(other.sizes)} in {pred}"
    return ""


def _listing(title: str, names: Collection[str]) -> str:
    return f"{title}: {_short(sorted(names))}" if names else ""


def _short(items: Sequence[object]) -> str:
    shown = ", ".join(map(str, items[:_LISTED]))
    return shown + (f", ... ({len(items)})" if len(items) > _LISTED else "")


def _text(sizes: Collection[tuple[int, int]]) -> str:
    return " and ".join(f"{width}x{height}" for height, width in sorted(sizes))
