"""Which structures are scored: their masks in frame 0, one file per clip."""

import logging
from collections.abc import Iterable
from pathlib import Path

from egowm.scs.masks import ObjectMasks, read_masks, resize_nearest

logger = logging.getLogger(__name__)

_HOW = (
    "DIR/<clip>.png or DIR/<clip>/00000.png, a palette PNG of frame 0 (mode P: 0 background, "
    "objects from 1, 255 void), DIR/<clip>.npz or DIR/<clip>.json"
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
    missing = [clip for clip, path in found.items() if path is None]
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise FileNotFoundError(
            f"{root}: {len(missing)} of {len(found)} clips have no annotation: {shown}. "
            f"Expected {_HOW}."
        )
    return {clip: path for clip, path in found.items() if path is not None}


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
    for path in (
        root / f"{clip}.png",
        root / clip / "00000.png",
        root / f"{clip}.npz",
        root / f"{clip}.json",
    ):
        if path.is_file():
            return path
    return None
