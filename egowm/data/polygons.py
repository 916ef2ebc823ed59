"""Structures drawn by a person as polygons, and their masks at any size.

The JSON file says at which size they were drawn and, for each clip, the outlines in its first
scored frame:

    {"size": [120, 160],
     "clips": {"tub_00800_00000": {"frame": 800, "structures": [
        {"name": "white line", "parts": [[[112, 64], [120, 60], ...], ...]}, ...]}}}

`size` is height, width. Points are x, y in pixels, where pixel 0 reaches from 0 to 1. A structure
may have several parts (the dashes of a line). Structures are numbered from 1 in the order written,
and a later one lies in front of an earlier one. `frame` says where the picture is to be found.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from egowm.paths import inside
from egowm.scs.masks import write_palette

FINE = 8  # rasterised this many times finer, then counted: a pixel belongs if half of it does
Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    (255, 0, 255), (0, 255, 255), (255, 70, 60), (80, 255, 80), (255, 160, 0),
)  # fmt: skip


class Structure(NamedTuple):
    """One static structure of a scene."""

    name: str
    parts: tuple[np.ndarray, ...]  # polygons, each (P, 2) x, y


class Drawing(NamedTuple):
    """The structures of one frame, drawn at a size (H, W)."""

    size: tuple[int, int]
    frame: int
    structures: tuple[Structure, ...]

    def labels(self, height: int, width: int) -> np.ndarray:
        """Ids `(height, width)` uint8: 0 background, structures from 1."""
        out = np.zeros((height, width), np.uint8)
        for number, structure in enumerate(self.structures, start=1):
            scale = np.array([width / self.size[1], height / self.size[0]])
            parts = [part * scale for part in structure.parts]
            out[coverage(parts, height, width) >= 0.5] = number
        return out


def read_polygons(path: str | Path) -> dict[str, Drawing]:
    """The drawing of every clip; ValueError names what is wrong in which clip."""
    found = json.loads(Path(path).read_text())
    height, width = found["size"]
    drawings = {}
    for clip, entry in found["clips"].items():
        structures = []
        for structure in entry["structures"]:
            name, parts = structure["name"], [np.asarray(p, float) for p in structure["parts"]]
            where = f"{path}: {clip}: {name}"
            for part in parts:
                if part.ndim != 2 or part.shape[1] != 2 or len(part) < 3:
                    raise ValueError(f"{where}: expected 3 or more points x, y, got {part.shape}.")
                if (part < 0).any() or (part > (width, height)).any():
                    raise ValueError(f"{where}: a point lies outside the {width}x{height} picture.")
            structures.append(Structure(name, tuple(parts)))
        drawings[clip] = Drawing((height, width), entry["frame"], tuple(structures))
    return drawings


def write_annotations(polygons: str | Path, folder: str | Path, height: int, width: int) -> None:
    """Write `folder/<clip>.png`, palette PNG of `height` x `width`, for every clip drawn."""
    for clip, drawing in read_polygons(polygons).items():
        path = inside(Path(folder), f"{clip}.png", str(polygons))
        write_palette(path, drawing.labels(height, width))


def coverage(parts: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Which share of each pixel polygons (P, 2) cover, `(height, width)` from 0 to 1."""
    import cv2

    fine = np.zeros((height * FINE, width * FINE), np.uint8)
    for part in parts:
        # OpenCV's integers are pixel centres, with 8 bits of fraction here
        points = np.round((part * FINE - 0.5) * 256).astype(np.int32)
        cv2.fillPoly(fine, [points], 1, shift=8)
    return fine.reshape(height, FINE, width, FINE).mean((1, 3))


def draw_overlay(frame: np.ndarray, labels: np.ndarray, names: list[str], scale: int) -> np.ndarray:
    """Outlines and numbers of `labels (H, W)` over `frame (H, W, 3)`, enlarged, names below."""
    import cv2

    height, width = labels.shape
    size = (width * scale, height * scale)
    picture = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    strip = np.full((14 * len(names) + 6, size[0], 3), 24, np.uint8)
    for number, name in enumerate(names, start=1):
        colour = COLOURS[(number - 1) % len(COLOURS)]
        mask = (labels == number).astype(np.uint8)
        large = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
        outlines = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(picture, outlines, -1, colour, 1)
        _write(picture, str(number), _inside(mask, scale), colour)
        _write(strip, f"{number} {name}", (6, 14 * number), colour)
    return np.concatenate([picture, strip])


def _inside(mask: np.ndarray, scale: int) -> tuple[int, int]:
    """Where to write a structure's number: its thickest place."""
    import cv2

    depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x * scale), int(y * scale + 2 * scale)


def _write(picture: np.ndarray, text: str, at: tuple[int, int], colour: Colour) -> None:
    """Text on a dark ground, `at` its lower left corner."""
    import cv2

    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    x, y = min(at[0], picture.shape[1] - width - 1), at[1]
    cv2.rectangle(picture, (x - 2, y - height - 2), (x + width + 1, y + 2), (24, 24, 24), -1)
    cv2.putText(picture, text, (x, y), font, size, colour, 1, cv2.LINE_AA)
