"""Masks written for others: tracks as npz, and pairs of them as a DAVIS tree."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from egowm.checks import counted
from egowm.files import FolderKind, check_folder, filled
from egowm.scs.annotation.annotations import read_annotation
from egowm.scs.inputs import gather, prepare
from egowm.scs.masks import VOID, ObjectMasks, read_masks, write_palette
from egowm.scs.score import MIN_AREA
from egowm.scs.trackers import MaskReader, Tracker, load_tracker
from egowm.scs.trackers.base import Tracks
from egowm.scs.tracking import run_tracker
from egowm.video import write_image

logger = logging.getLogger(__name__)
TRACKED = FolderKind("egowm-scs track", r".+\.npz")
DAVIS = FolderKind(
    "egowm-scs export",
    r"ImageSets/2017/val\.txt|(Annotations/480p|results)/[^/]+/\d{5}\.png"
    r"|JPEGImages/480p/[^/]+/\d{5}\.jpg",
)


def track_folder(
    videos: Path,
    annotations: Path,
    output: Path,
    *,
    tracker: str | Tracker | MaskReader,
    gt: Path | None = None,
    first: Path | None = None,
    cache: Path | None = None,
) -> int:
    """Write `output/<clip>.npz` for every clip of `videos`, all or none; the number of clips.

    gt: the truth, where `videos` are predictions, which then start from its frame 0.
    """
    follow = prepare(tracker, annotations, cache)
    if not isinstance(follow, Tracker):
        raise ValueError(f"The tracker {follow.name!r} reads masks from disk: nothing to track.")
    inputs = gather(follow, videos, gt or videos, annotations=annotations, first=first)
    assert inputs.annotations is not None
    several = max(map(len, inputs.pred.values())) > 1
    with filled(output, TRACKED) as folder:
        for name, samples in tqdm(inputs.pred.items(), "tracking", unit="clip", disable=None):
            structures = read_annotation(inputs.annotations[name], inputs.size)
            start = inputs.gt[name].frames()[0]
            clips = [video.frames() for video in samples]
            for frames in clips:
                frames[0] = start
            for number, tracks in enumerate(run_tracker(follow, clips, structures.masks[0])):
                path = folder / (f"{name}/{number}.npz" if several else f"{name}.npz")
                _write_tracks(path, tracks, structures.ids)
    return len(inputs.pred)


def _write_tracks(path: Path, tracks: Tracks, ids: Sequence[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, masks=tracks.masks, ids=np.array(ids), evidence=tracks.evidence)


class _Pair(NamedTuple):
    """A clip as DAVIS has it."""

    name: str
    truth: np.ndarray  # (T+1, H, W) uint8
    prediction: np.ndarray  # (T+1, H, W) uint8
    overlaps: bool  # masks overlapped, which a palette cannot show


def export_davis(pred: Path, gt: Path, output: Path, min_area: float = MIN_AREA) -> int:
    """Write masks of `pred` and `gt` as a DAVIS 2017 tree with `results/`; the number of clips.

    Its evaluator leaves out the first and the last frame: frame 0 is the first, and the last one is
    written twice, so that it judges frames 1..T. Ids become 1..O. Masks below `min_area` are left
    out and the prediction's pixels in void are background, as in `scs_davis`, of which the
    evaluator's J is then the mean over all objects. Pictures are black: it only counts them.
    """
    check_folder(output, DAVIS, force=True)
    reader = load_tracker("masks")
    inputs = gather(reader, pred, gt)
    several = [name for name, samples in inputs.pred.items() if len(samples) > 1]
    if several:
        raise ValueError(f"DAVIS knows one sample per clip, got {len(inputs.pred[several[0]])}.")
    flat = {name: name.replace("/", "__") for name in inputs.gt}
    if len(set(flat.values())) < len(flat):
        raise ValueError("Two clips have the same name once / is written as __.")
    clumsy = []
    with filled(output, DAVIS) as folder:
        for name in tqdm(inputs.gt, "exporting", unit="clip", disable=None):
            truth = read_masks(inputs.gt[name].path)
            prediction = read_masks(inputs.pred[name][0].path, truth.ids)
            pair = _pair(flat[name], truth, prediction.masks, min_area)
            _write_pair(folder, pair)
            clumsy += [name] if pair.overlaps else []
        sets = folder / "ImageSets" / "2017"
        sets.mkdir(parents=True)
        (sets / "val.txt").write_text("".join(f"{n}\n" for n in flat.values()), encoding="utf-8")
    if clumsy:
        logger.warning(
            "masks overlap in %s (%s): the smaller object is drawn on top; numbers differ",
            counted(len(clumsy), "clip"), clumsy[0],
        )  # fmt: skip
    return len(flat)


def _pair(name: str, truth: ObjectMasks, pred: np.ndarray, min_area: float) -> _Pair:
    """Objects that the prediction never shows come first: an evaluator reads ids up to the
    highest one, and refuses results that lack it."""
    pred = pred & ~truth.void[:, None]
    both = []
    for masks in (truth.masks, pred):
        large = masks.mean((2, 3)) >= min_area
        both.append(masks & large[..., None, None])
    both[0][0] = truth.masks[0]  # frame 0 says which objects there are
    order = np.argsort(both[1][1:].any((0, 2, 3)), kind="stable")
    drawn, overlaps = [], False
    for masks in both:
        labels = np.zeros((len(masks), *masks.shape[2:]), np.uint8)
        ranks = {int(k): rank for rank, k in enumerate(order, 1)}
        for k in np.argsort(-truth.masks[0].sum((1, 2)), kind="stable"):
            labels[masks[:, k]] = ranks[int(k)]
        overlaps |= bool(masks.sum(1).max() > 1)
        drawn.append(labels)
    drawn[0][truth.void] = VOID
    return _Pair(name, drawn[0], drawn[1], overlaps)


def _write_pair(root: Path, pair: _Pair) -> None:
    folders = (root / "Annotations/480p" / pair.name, root / "results" / pair.name)
    pictures = root / "JPEGImages/480p" / pair.name
    black = np.zeros((*pair.truth.shape[1:], 3), np.uint8)
    for folder, labels in zip(folders, (pair.truth, pair.prediction), strict=True):
        for t, frame in enumerate([*labels, labels[-1]]):
            write_palette(folder / f"{t:05d}.png", frame)
    for t in range(len(pair.truth) + 1):
        write_image(pictures / f"{t:05d}.jpg", black)
