"""Making annotations: the structures of every clip's frame 0, frozen in one folder for all models.

They come from masks that somebody drew, from points and boxes, from a segmenter that proposes
everything it sees, from what a text names, or from the simulator.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from egowm.files import FolderKind, begins, check_folder, filled
from egowm.paths import inside
from egowm.scs.annotation.annotations import find_annotations, read_annotation
from egowm.scs.annotation.detector import Detector
from egowm.scs.annotation.prompts import MOVING, Prompt, check_segmenter
from egowm.scs.annotation.proposals import choose, propose, static
from egowm.scs.clips import Video
from egowm.scs.masks import VOID, write_palette
from egowm.scs.protocol import hash_structures
from egowm.scs.trackers.base import Tracker

RECORD = "annotations.json"
FROZEN = FolderKind(
    "egowm-scs annotate",
    r".+\.(png|npz)|annotations\.json",
    lambda folder: begins(folder / RECORD, rb'\{\s*"how": '),
)


class Structures(NamedTuple):
    """Frame 0 of one clip."""

    clip: str
    ids: tuple[int, ...]
    masks: np.ndarray  # (O, H, W) bool
    labels: tuple[str, ...]  # what they are, "" where nobody said


def from_masks(videos: Mapping[str, Video], root: Path) -> Iterator[Structures]:
    """Masks that somebody drew, in any format that `score --annotations` reads."""
    found = find_annotations(root, videos)
    for name, video in videos.items():
        size = video.frames().shape[1:3]
        drawn = read_annotation(found[name], (size[0], size[1]))
        yield Structures(name, drawn.ids, drawn.masks[0], ("",) * len(drawn.ids))


def from_prompts(
    videos: Mapping[str, Video], prompts: Mapping[str, list[Prompt]], tracker: Tracker
) -> Iterator[Structures]:
    """Masks of points and boxes; what moves by itself is left out by its label."""
    segmenter = check_segmenter(tracker)
    for name, video in videos.items():
        frame = video.frames()[0]
        wanted = [p.scaled(*frame.shape[:2]) for p in prompts[name] if p.label not in MOVING]
        if not wanted:
            raise ValueError(f"Clip {name}: no prompt for a static structure.")
        masks, _ = segmenter.segment(frame, wanted)
        yield Structures(name, tuple(p.id for p in wanted), masks, tuple(p.label for p in wanted))


def automatic(
    videos: Mapping[str, Video], tracker: Tracker, at: Sequence[int] = ()
) -> Iterator[Structures]:
    """What a segmenter proposes on a grid of points, if it is static in the true video.

    at: frames to annotate instead of frame 0, each as `<clip>/<frame>`.
    """
    segmenter = check_segmenter(tracker)
    for name, video in videos.items():
        frames = video.frames()
        for start in at or (0,):
            where = f"{name}/{start:05d}" if at else name
            if not 0 <= start < len(frames) - 1:
                raise ValueError(f"Clip {name} has no frame after frame {start} to judge it by.")
            found = propose(segmenter, frames[start])
            yield _chosen(where, tracker, frames[start:], *found, [""] * len(found[0]))


def from_text(
    videos: Mapping[str, Video], detector: Detector, names: Sequence[str], tracker: Tracker
) -> Iterator[Structures]:
    """What a detector finds under `names`, cut out by a segmenter, if it is static."""
    segmenter = check_segmenter(tracker)
    for name, video in videos.items():
        frames = video.frames()
        prompts = detector.find(frames[0], names)
        if not prompts:
            raise ValueError(f"Clip {name}: found no {' or '.join(names)}. Draw its structures.")
        labels = [prompt.label for prompt in prompts]
        yield _chosen(name, tracker, frames, *segmenter.segment(frames[0], prompts), labels)


def _chosen(
    clip: str,
    tracker: Tracker,
    frames: np.ndarray,
    masks: np.ndarray,
    quality: np.ndarray,
    labels: Sequence[str],
) -> Structures:
    """The best of `masks`, without overlap, that are static in `frames`."""
    masks, which = choose(masks, quality)
    keep = static(frames, tracker.track(frames, masks)) if len(masks) else np.zeros(0, bool)
    if not keep.any():
        raise ValueError(f"Clip {clip}: nothing static was found. Draw its structures.")
    numbers = tuple(range(1, int(keep.sum()) + 1))
    said = tuple(labels[k] for k, kept in zip(which, keep, strict=True) if kept)
    return Structures(clip, numbers, masks[keep], said)


def freeze(found: Iterable[Structures], output: Path, how: Mapping[str, Any]) -> int:
    """Write one file per clip and a record of how they were made; the number of clips.

    The folder appears when all is there. Raises FileExistsError where annotations are there.
    """
    check_output(output)
    record: dict[str, Any] = {"how": dict(how), "clips": {}}
    with filled(output, FROZEN) as temporary:
        for clip in found:
            _write(temporary, clip)
            record["clips"][clip.clip] = {
                "sha256": hash_structures(clip.ids, clip.masks),
                "labels": {str(k): v for k, v in zip(clip.ids, clip.labels, strict=True) if v},
            }
        (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(record["clips"])


def check_output(folder: Path) -> None:
    """Refuse a folder with anything in it, annotations too: scores that rest on them would change
    their meaning."""
    check_folder(folder, FROZEN, force=True)
    if FROZEN.made is not None and FROZEN.made(folder):
        raise FileExistsError(17, "Annotations are frozen; give another folder than", str(folder))


def _write(root: Path, clip: Structures) -> None:
    """A palette PNG; npz where structures overlap or have ids that a PNG cannot hold."""
    if not clip.masks.any((1, 2)).all():
        raise ValueError(f"Clip {clip.clip}: a structure without a single pixel in frame 0.")
    path = inside(root, f"{clip.clip}.png", "the clips' names")
    path.parent.mkdir(parents=True, exist_ok=True)
    if clip.masks.sum(0).max() > 1 or not all(0 < k < VOID for k in clip.ids):
        np.savez_compressed(path.with_suffix(".npz"), masks=clip.masks, ids=np.array(clip.ids))
        return
    labels = np.zeros(clip.masks.shape[1:], np.uint8)
    for number, mask in zip(clip.ids, clip.masks, strict=True):
        labels[mask] = number
    write_palette(path, labels)
