"""Masks on disk: palette PNG as DAVIS writes them, folders of them, and npz.

A palette PNG (mode P) holds one id per pixel: 0 background, 1, 2, ... objects, 255 void (not
judged). It is read without conversion, because converting gives colours instead of ids. npz keeps
masks that overlap: `masks` (T, O, H, W) bool and, if wanted, `ids` (O,).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from egowm.video import picture_paths

VOID = 255


class ObjectMasks(NamedTuple):
    """Masks of the same objects in consecutive frames."""

    ids: tuple[int, ...]  # O numbers, ascending, as on disk
    masks: np.ndarray  # (T, O, H, W) bool
    void: np.ndarray  # (T, H, W) bool: pixels that nobody may judge


def read_masks(path: str | Path, ids: Sequence[int] | None = None) -> ObjectMasks:
    """Read a palette PNG, a folder of them in natural order, or an npz.

    ids: the objects wanted, empty where they do not occur; None takes those of the first frame.
    Raises ValueError for other formats, mixed sizes, and a first frame without any object.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no masks here. Expected a palette PNG, a folder or npz.")
    if path.suffix == ".npz":
        return _read_npz(path, ids)
    paths = picture_paths(path) if path.is_dir() else [path]
    labels = [read_palette(file) for file in paths]
    sizes = {label.shape for label in labels}
    if len(sizes) > 1:
        raise ValueError(f"{path}: expected masks of one size, got {_sizes(sizes)}.")
    return split_labels(np.stack(labels), ids, str(path))


def read_palette(path: str | Path) -> np.ndarray:
    """The ids of one palette PNG, (H, W) uint8."""
    try:
        with Image.open(path) as image:
            if image.mode != "P":
                raise ValueError(
                    f"{path}: expected a palette PNG (mode P), got mode {image.mode}. Save ids as "
                    f"palette indices (0 background, objects from 1, 255 void), not as colours."
                )
            return np.array(image)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a readable picture, corrupt or cut short.") from error


def split_labels(
    labels: np.ndarray, ids: Sequence[int] | None = None, name: str = "masks"
) -> ObjectMasks:
    """One mask per id from `labels (T, H, W)` uint8; `name` is what an error calls them."""
    if ids is None:
        ids = [int(i) for i in np.unique(labels[0]) if i not in (0, VOID)]
    if not ids:
        raise ValueError(
            f"{name}: found no object in the first frame. Expected ids from 1 (0 is background, "
            f"{VOID} is void)."
        )
    wanted = np.asarray(ids)[None, :, None, None]
    return ObjectMasks(tuple(ids), labels[:, None] == wanted, labels == VOID)


def write_palette(path: str | Path, labels: np.ndarray) -> None:
    """Write ids `(H, W)` uint8 as a palette PNG in the colours of DAVIS."""
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"Expected labels (H, W) uint8, got {labels.shape} {labels.dtype}.")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())  # makes it mode P
    image.save(path, "PNG")


def davis_palette() -> np.ndarray:
    """The 256 colours (256, 3) uint8 of PASCAL VOC and DAVIS.

    The bits of an id, three at a time from the lowest, are the bits of R, G and B from the highest.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = ids >> (3 * place + channel) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return palette


def resize_nearest(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize `masks (..., H, W)` by taking the nearest pixel: no value is ever mixed."""
    rows = ((np.arange(height) + 0.5) * masks.shape[-2] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * masks.shape[-1] / width).astype(int)
    return masks[..., rows[:, None], columns]


def _read_npz(path: Path, ids: Sequence[int] | None) -> ObjectMasks:
    with np.load(path) as stored:
        if "masks" not in stored:
            raise ValueError(f"{path}: expected an array `masks`, got {', '.join(stored)}.")
        masks = stored["masks"]
        found = stored["ids"].tolist() if "ids" in stored else None
    if masks.ndim == 3:
        masks = masks[None]
    if masks.ndim != 4 or masks.dtype != bool:
        raise ValueError(
            f"{path}: expected masks (T, O, H, W) or (O, H, W) bool, "
            f"got {masks.shape} {masks.dtype}."
        )
    found = list(range(1, masks.shape[1] + 1)) if found is None else found
    if len(found) != masks.shape[1]:
        raise ValueError(f"{path}: got {len(found)} ids for {masks.shape[1]} masks.")
    wanted = list(found if ids is None else ids)
    chosen = np.zeros((len(masks), len(wanted), *masks.shape[2:]), bool)
    for k, number in enumerate(wanted):
        if number in found:
            chosen[:, k] = masks[:, found.index(number)]
    return ObjectMasks(tuple(wanted), chosen, np.zeros((len(masks), *masks.shape[2:]), bool))


def _sizes(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join(f"{width}x{height}" for height, width in sorted(shapes))
