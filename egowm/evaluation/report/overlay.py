"""Masks drawn over a video: its own filled, the other video's as contours, in equal colours."""

import io
from typing import TYPE_CHECKING

import numpy as np

from egowm.scs.masks import davis_palette, resize_nearest

if TYPE_CHECKING:
    from egowm.evaluation.report.clip_card import Sheet

_FILL = 110  # opacity of 255
_THIN = 200  # pixels: frames up to here get contours of one pixel


def draw_masks(own: np.ndarray, other: np.ndarray, ids: tuple[int, ...], sheet: "Sheet") -> bytes:
    """Transparent PNG with a cell per frame, in the order of the sheet but without margins.

    own, other: masks (T+1, O, H, W) bool of this video and of the one it is compared with.
    """
    from PIL import Image

    height, width = sheet.height, sheet.width
    rows = -(-len(own) // sheet.columns)
    paint = np.zeros((rows * height, sheet.columns * width, 4), np.uint8)
    palette = davis_palette()
    for t in range(len(own)):
        top, left = t // sheet.columns * height, t % sheet.columns * width
        cell = paint[top : top + height, left : left + width]
        for k, number in enumerate(ids):
            mask = resize_nearest(own[t, k], height, width)
            cell[mask] = (*palette[number % 256], _FILL)
        for k, number in enumerate(ids):
            contour = _contour(resize_nearest(other[t, k], height, width))
            cell[contour] = (*palette[number % 256], 255)
    buffer = io.BytesIO()
    Image.fromarray(paint).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _contour(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask (H, W) near its edge."""
    reach = 1 if max(mask.shape) <= _THIN else 2
    padded = np.pad(mask, reach, mode="edge")
    height, width = mask.shape
    inside = mask.copy()
    for down, right in ((0, reach), (2 * reach, reach), (reach, 0), (reach, 2 * reach)):
        inside &= padded[down : down + height, right : right + width]
    return mask & ~inside
