"""Masks on disk: palette PNG as DAVIS writes them, folders of them, npz, SA-V and COCO RLE.

A palette PNG (mode P) holds one id per pixel: 0 background, 1, 2, ... objects, 255 void (not
judged). It is read without conversion, because converting gives colours instead of ids. npz keeps
masks that overlap: `masks` (T, O, H, W) bool and, if wanted, `ids` (O,). So do SA-V's folders,
`<object:03d>/<frame:05d>.png`, and json of run lengths (`egowm.scs.run_lengths`).
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from egowm.arrays import read_npz
from egowm.checks import counted
from egowm.limits import BYTES, admit, read_bytes
from egowm.picture_file import check_png_end, opened
from egowm.scs.run_lengths import read_run_lengths
from egowm.video import picture_paths

VOID = 255
MASKS = (".npz", ".json")  # files that hold the masks of a whole clip


class ObjectMasks(NamedTuple):
    """Masks of the same objects in consecutive frames."""

    ids: tuple[int, ...]  # O numbers, ascending, as on disk
    masks: np.ndarray  # (T, O, H, W) bool
    void: np.ndarray  # (T, H, W) bool: pixels that nobody may judge


def read_masks(path: str | Path, ids: Sequence[int] | None = None) -> ObjectMasks:
    """Read a palette PNG, a folder of them in natural order, SA-V's folders, npz or json.

    ids: the objects wanted, empty where they do not occur; None takes those of the first frame.
    Raises ValueError for other formats, mixed sizes, and a first frame without any object.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no masks here. Expected a palette PNG, a folder or npz.")
    if path.suffix == ".npz":
        return _read_npz(path, ids)
    if path.suffix == ".json":
        return _chosen(*read_run_lengths(path), ids)
    if path.is_dir() and is_sav(path):
        return _read_sav(path, ids)
    paths = picture_paths(path) if path.is_dir() else [path]
    first = read_palette(paths[0])
    objects = len(np.unique(first)) if ids is None else len(ids)
    admit(path, len(paths) * objects * first.size, "bytes of masks", BYTES)
    labels = [first, *(read_palette(file) for file in paths[1:])]
    sizes = {label.shape for label in labels}
    if len(sizes) > 1:
        raise ValueError(f"{path}: expected masks of one size, got {_sizes(sizes)}.")
    return split_labels(np.stack(labels), ids, str(path))


def read_palette(path: str | Path) -> np.ndarray:
    """The ids of one palette PNG, (H, W) uint8."""
    labels, mode = _read_picture(Path(path))
    if mode != "P":
        raise ValueError(
            f"{path}: expected a palette PNG (mode P), got mode {mode}. Save ids as palette "
            f"indices (0 background, objects from 1, 255 void), not as colours."
        )
    return labels


def _read_picture(path: Path) -> tuple[np.ndarray, str]:
    """The values of a picture as they are stored, and its mode."""
    data = read_bytes(path)
    check_png_end(data, str(path))
    with opened(io.BytesIO(data), str(path)) as image:
        return np.array(image), image.mode


def is_sav(folder: Path) -> bool:
    """Whether a folder holds one folder of masks per object, 000, 001, ..., and nothing else."""
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return bool(names) and all(re.fullmatch(r"\d{3}", name) for name in names)


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
    arrays = read_npz(path, ("masks", "ids"))
    if "masks" not in arrays:
        raise ValueError(f"{path}: expected an array `masks`, found none of that name.")
    masks = arrays["masks"]
    found = arrays["ids"].tolist() if "ids" in arrays else None
    if masks.ndim == 3:
        masks = masks[None]
    if masks.ndim != 4 or masks.dtype != bool:
        raise ValueError(
            f"{path}: expected masks (T, O, H, W) or (O, H, W) bool, "
            f"got {masks.shape} {masks.dtype}."
        )
    found = list(range(1, masks.shape[1] + 1)) if found is None else found
    if not isinstance(found, list) or len(found) != masks.shape[1]:
        raise ValueError(f"{path}: expected an id for each of {counted(masks.shape[1], 'mask')}.")
    return _chosen(found, masks, ids)


def _read_sav(path: Path, ids: Sequence[int] | None) -> ObjectMasks:
    """One folder per object; a pixel that is not 0 belongs to it. Objects may overlap."""
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    files = {folder: picture_paths(folder) for folder in folders}
    names = {folder: [file.name for file in paths] for folder, paths in files.items()}
    other = [folder.name for folder in folders if names[folder] != names[folders[0]]]
    if other:
        raise ValueError(
            f"{path}: expected the same frames for every object, but {', '.join(other[:10])} has "
            f"others than {folders[0].name}."
        )
    every = [file for paths in files.values() for file in paths]
    first = _read_picture(every[0])[0]
    admit(path, len(every) * first.size, "bytes of masks", BYTES)
    masks = [first, *(_read_picture(file)[0] for file in every[1:])]
    shapes = {mask.shape for mask in masks}
    if len(shapes) > 1 or len(masks[0].shape) != 2:
        raise ValueError(f"{path}: expected pictures of one size with one value per pixel.")
    stacked = np.stack(masks).reshape(len(folders), -1, *masks[0].shape) > 0
    found = [int(folder.name) for folder in folders]
    return _chosen(found, stacked.swapaxes(0, 1), ids)


def _chosen(found: Sequence[int], masks: np.ndarray, ids: Sequence[int] | None) -> ObjectMasks:
    """Masks (T, O, H, W) of the ids wanted, empty where they do not occur."""
    wanted = list(found if ids is None else ids)
    if wanted == list(found):
        return ObjectMasks(tuple(wanted), masks, np.zeros((len(masks), *masks.shape[2:]), bool))
    chosen = np.zeros((len(masks), len(wanted), *masks.shape[2:]), bool)
    for k, number in enumerate(wanted):
        if number in found:
            chosen[:, k] = masks[:, list(found).index(number)]
    return ObjectMasks(tuple(wanted), chosen, np.zeros((len(masks), *masks.shape[2:]), bool))


def _sizes(shapes: set[tuple[int, ...]]) -> str:
    return ", ".join(f"{width}x{height}" for height, width in sorted(shapes))
