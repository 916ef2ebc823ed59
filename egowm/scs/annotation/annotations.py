"""Which structures are scored: their masks in frame 0, one file per clip."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from egowm.checks import counted
from egowm.paths import inside
from egowm.scs.masks import MASKS, ObjectMasks, read_masks, resize_nearest

logger = logging.getLogger(__name__)

_HOW = (
    "DIR/<clip>.png or DIR/<clip>/00000.png, a palette PNG of frame 0 (mode P: 0 background, "
    "objects from 1, 255 void), DIR/<clip>.npz or DIR/<clip>.json"
)

_ANCHORS = (
    "DIR/<clip>/00004.png, 00008.png, ... (or .npz, .json), the structures of those true frames"
)


def refuse_without(tracker: str) -> ValueError:
    """The error for a tracker that needs annotations and got none."""
    return ValueError(
        f"The tracker {tracker!r} must be told the structures of frame 0. Give --annotations DIR "
        f"with {_HOW}."
    )


def find_annotations(root: str | Path, clips: Iterable[str]) -> dict[str, Path]:
    """The annotation of every clip; FileNotFoundError lists those that have none."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of annotations. Expected {_HOW}.")
    found = {clip: _find(root, clip) for clip in clips}
    _refuse_missing(root, found, "no annotation", _HOW)
    return {clip: path for clip, path in found.items() if path is not None}


def find_anchors(root: Path, lengths: Mapping[str, int]) -> dict[str, dict[int, Path]]:
    """The files of every clip by frame; lengths: clip -> number of frames.

    Raises FileNotFoundError that lists clips without any, ValueError for frames that a clip lacks.
    """
    found = {name: _anchors(inside(root, name, "the clips' names")) for name in lengths}
    _refuse_missing(root, found, "no further anchor", _ANCHORS)
    for name, files in found.items():
        wrong = [frame for frame in files if not 0 < frame < lengths[name] - 1]
        if wrong:
            raise ValueError(
                f"{root / name}: expected anchors between frame 1 and {lengths[name] - 2}, with a "
                f"frame after them, got {', '.join(map(str, wrong))}."
            )
    return found


def _refuse_missing(root: Path, found: Mapping[str, object], what: str, expected: str) -> None:
    missing = [clip for clip, files in found.items() if not files]
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise FileNotFoundError(
            f"{root}: {what} in {len(missing)} of {counted(len(found), 'clip')}: {shown}. Expected "
            f"{expected}."
        )


def read_annotation(path: Path, size: tuple[int, int]) -> ObjectMasks:
    """Masks of frame 0, (1, O, H, W), for frames of `size` (H, W).

    One drawn at another size and the same aspect ratio is resized to the nearest pixel, with a
    warning. Raises ValueError for another aspect ratio.
    """
    found = read_masks(path)
    height, width = found.masks.shape[2:]
    if (height, width) == size:
        return found
    if height * size[1] != width * size[0]:
        raise ValueError(
            f"{path}: the annotation is {width}x{height}, the frames are {size[1]}x{size[0]}: "
            f"another crop. Annotate frame 0 as it is scored."
        )
    logger.warning("%s: resized from %dx%d to %dx%d", path, width, height, size[1], size[0])
    return ObjectMasks(
        found.ids, resize_nearest(found.masks, *size), resize_nearest(found.void, *size)
    )


def _find(root: Path, clip: str) -> Path | None:
    names = (f"{clip}.png", f"{clip}/00000.png", f"{clip}.npz", f"{clip}.json")
    paths = (inside(root, name, "the clips' names") for name in names)
    return next((path for path in paths if path.exists() and not path.is_dir()), None)


def _anchors(folder: Path) -> dict[int, Path]:
    """Frame number -> file; frame 0's own annotation may lie among them."""
    if not folder.is_dir():
        return {}
    suffixes = (".png", *MASKS)
    named = [p for p in sorted(folder.iterdir()) if p.suffix in suffixes]
    found = {int(p.stem): p for p in named if re.fullmatch(r"\d+", p.stem)}
    return {frame: path for frame, path in found.items() if frame}
