"""Films to look at: videos side by side, each under its label and over a line of text."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 192  # pixels: smaller frames are magnified by a whole number, up to this at most
COLUMNS = 5  # panels in a row at most
COLOURS = ((0, 90, 181), (213, 94, 0), (0, 130, 95), (170, 60, 130))  # of several ways
STRIP, _GAP, _FONTS = 22, 4, (13, 11, 10)
_TRIM = 3  # pixels above and below a line, which several lines share
NOTE_LINES = 4  # for the words of an action, at most
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
Colour = tuple[int, int, int]


def panel(
    frames: np.ndarray,
    label: str | Sequence[np.ndarray],
    notes: Sequence[str] = (),
    colour: Colour | None = None,
    most_lines: int = 1,
) -> np.ndarray:
    """Frames (n, H, W, 3) uint8 as a part of a film: magnified, under a label, over notes.

    Args:
        label: One text for all frames, or one strip (22, W', 3) for each frame.
        notes: A text below each frame; the last stays. None leaves no room for one.
        colour: Of a square before the label, which stands for the same colour on a map.
        most_lines: Of a note that does not fit on one; all get as many as the longest takes.
    """
    factor = max(1, SIDE // max(frames.shape[1:3]))
    large = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    count, width = len(large), large.shape[2]
    heads = [strip(label, width, colour)] * count if isinstance(label, str) else label
    parts = [np.stack([*heads, *[heads[-1]] * (count - len(heads))]), large]
    if notes:
        parts.append(_below([_lines(note, width, most_lines) for note in notes], width, count))
    return np.concatenate(parts, axis=1)


def _below(notes: Sequence[Sequence[str]], width: int, count: int) -> np.ndarray:
    """Notes (count, h, width, 3) below a panel, all as tall as the one of most lines."""
    tall, drawn = max(map(len, notes)), []
    for note in notes:
        if tall == 1:
            drawn.append(strip(note[0], width))
            continue
        rows = [strip(text, width)[_TRIM:-_TRIM] for text in [*note, *[""] * (tall - len(note))]]
        edge = np.full((_TRIM, width, 3), 255, np.uint8)
        drawn.append(np.concatenate([edge, *rows, edge]))
    return np.stack([drawn[min(k, len(drawn) - 1)] for k in range(count)])


def _lines(text: str, width: int, most: int) -> list[str]:
    """A note in lines that fit, divided at its commas; what is left over goes to the last."""
    _, draw, font = _blank(width)
    lines: list[str] = []
    for part in text.split(", "):
        longer = f"{lines[-1]}, {part}" if lines else part
        fits = draw.textlength(longer, font=font) <= width - 8
        if lines and (fits or len(lines) == most):
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels (n, H, W, 3) in rows of five, on white; a shorter one holds its last frame."""
    count = max(map(len, panels))
    rows = []
    for start in range(0, len(panels), COLUMNS):
        line = [_held(part, count) for part in panels[start : start + COLUMNS]]
        tall = max(part.shape[1] for part in line)
        row = [_padded(part, tall, part.shape[2] + _GAP) for part in line]
        rows.append(np.concatenate(row, axis=2)[:, :, :-_GAP])
    wide = max(row.shape[2] for row in rows)
    lines = [_padded(row, row.shape[1] + _GAP, wide) for row in rows]
    return np.concatenate(lines, axis=1)[:, :-_GAP]


def write_film(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write frames as PATH.mp4, and as PATH.webp, which begins anew after a second's rest."""
    from egowm.video import webp_bytes, write_mp4

    write_mp4(path.with_name(f"{path.name}.mp4"), frames, fps)
    rest = frames[-1:].repeat(max(1, round(fps)), axis=0)
    looping = webp_bytes(np.concatenate([frames, rest]), fps)
    path.with_name(f"{path.name}.webp").write_bytes(looping)


@lru_cache(maxsize=1024)
def strip(
    text: str, width: int, colour: Colour | None = None, keep_end: bool = False
) -> np.ndarray:
    """Dark text on white (22, width, 3), smaller or cut where it would not fit: at its end, or at
    its start where the end tells more."""
    left = 4 if colour is None else 18
    for size in _FONTS:
        image, draw, font = _blank(width, size)
        if draw.textlength(text, font=font) <= width - left - 4:
            break
    if colour is not None:
        draw.rectangle((4, 6, 13, 15), fill=colour)
    while len(text) > 1 and draw.textlength(text, font=font) > width - left - 4:
        if keep_end:
            text = "…" + text.removeprefix("…")[1:].lstrip()
        else:
            text = text.removesuffix("…")[:-1].rstrip() + "…"
    draw.text((left, 11), text, fill=_INK, font=font, anchor="lm")
    return np.array(image)


def key_strips(keys: str, width: int, colour: Colour) -> list[np.ndarray]:
    """One strip (22, width, 3) per frame, 1 + len(keys): the keys, with the one just pressed in a
    box; a long sequence moves along."""
    pitch = 12
    room = max(1, (width - 8) // pitch)
    strips = []
    for frame in range(len(keys) + 1):
        image, draw, font = _blank(width)
        first = min(max(0, frame - 1 - room // 2), max(0, len(keys) - room))
        for place, key in enumerate(keys[first : first + room]):
            x, pressed = 4 + pitch * place, first + place == frame - 1
            if pressed:
                draw.rectangle((x, 2, x + pitch - 1, 19), fill=colour)
            ink = _PAPER if pressed else colour if first + place < frame else (150, 150, 150)
            draw.text((x + pitch / 2, 11), key, fill=ink, font=font, anchor="mm")
        strips.append(np.array(image))
    return strips


def _blank(width: int, size: int = _FONTS[0]) -> tuple[Any, Any, Any]:
    """A white strip, its pen and its font."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, STRIP), _PAPER)
    return image, ImageDraw.Draw(image), ImageFont.load_default(size=size)


def _held(frames: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([frames, frames[-1:].repeat(count - len(frames), axis=0)])


def _padded(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """With white below and to the right, up to a size."""
    missing = ((0, 0), (0, height - frames.shape[1]), (0, width - frames.shape[2]), (0, 0))
    return np.pad(frames, missing, constant_values=255)
