"""Frames of episodes with their actions drawn under them, for a first look."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np

from egowm.actions import ActionSpec
from egowm.data.episode import Episode
from egowm.data.inspect.conventions import conventions
from egowm.files import FileKind, whole
from egowm.video import PICTURES, resize, write_image

HEIGHT = 120  # of a frame on the sheet
NAME, BAR, STRIP = 10, 9, 6  # a dimension's name, its bar below, and the space below them
MOST = 12  # dimensions drawn
LABEL = 0.32  # size of the letters on a frame
LINE, LETTER = 15, 7  # pixels of a line of the legend, and of a letter
MADE_BY = "egowm data show"  # a text in the PNG
GROUND, INK, AXIS = (24, 24, 24), (120, 220, 255), (90, 90, 90)


def contact_sheet(
    episodes: Sequence[Episode], spec: ActionSpec, frames: int, stride: int
) -> np.ndarray:
    """Rows of frames, an episode each, every `stride`-th from its start, `(H, W, 3)` uint8.

    Under a frame, a bar for each dimension of the action that leads to the next frame: to the left
    of the axis below zero, to the right above, full width at the largest of all actions. The last
    lines say how long a full bar is, and what the signs mean.
    """
    largest = np.max([np.abs(episode.actions).max(0) for episode in episodes], 0)
    varying = [k for k in range(spec.width) if largest[k] > 0][:MOST]
    scales = {k: float(largest[k]) for k in varying}
    rows = [_row(episode, spec, scales, frames, stride) for episode in episodes]
    width = max(row.shape[1] for row in rows)
    rows.append(_legend(spec, scales, width))
    sheet = np.full((sum(map(len, rows)), width, 3), GROUND, np.uint8)
    for row, top in zip(rows, np.cumsum([0, *map(len, rows)]), strict=False):
        sheet[top : top + len(row), : row.shape[1]] = row
    return sheet


def _legend(spec: ActionSpec, scales: dict[int, float], width: int) -> np.ndarray:
    """The length of full bars and the meaning of signs, wrapped to the sheet's width."""
    bars = [f"{spec.names[k]} {scale:.3g} {spec.units[k]}".strip() for k, scale in scales.items()]
    lines = [f"bars: right is +, left is -; a full bar is {', '.join(bars)}"] if bars else []
    text = [part for line in [*lines, *conventions(spec)] for part in wrap(line, width // LETTER)]
    out = np.full((LINE * len(text) + STRIP, width, 3), GROUND, np.uint8)
    for number, line in enumerate(text):
        _write(out, line, (3, LINE * number + LINE - 3), 0.36)
    return out


def kind_of(path: Path) -> FileKind:
    """The mark of a sheet that is there already: a text right behind a PNG's header."""
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"{path}: expected a name that ends in one of {', '.join(PICTURES)}.")
    if path.suffix.lower() != ".png":
        return FileKind("a picture", None)
    text = b"tEXtSoftware\0" + MADE_BY.encode()
    return FileKind(f"a sheet of `{MADE_BY}`", rb"\x89PNG\r\n\x1a\n.{29}" + text)


def write_sheet(path: Path, sheet: np.ndarray) -> None:
    """Write a sheet (H, W, 3) as the picture file that its name says; a PNG says what made it."""
    from PIL import Image, PngImagePlugin

    if path.suffix.lower() != ".png":
        write_image(path, sheet)
        return
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", MADE_BY)
    with whole(path) as temporary:
        Image.fromarray(sheet).save(temporary, "PNG", pnginfo=about)


def _row(
    episode: Episode, spec: ActionSpec, scales: dict[int, float], frames: int, stride: int
) -> np.ndarray:
    numbers = range(0, episode.num_frames - 1, stride)[:frames]
    pictures = episode.read(numbers)
    width = max(round(pictures.shape[2] * HEIGHT / pictures.shape[1]), 60)
    cells = []
    for number, picture in zip(numbers, resize(pictures, HEIGHT, width), strict=True):
        bars = _bars(episode.actions[number], spec, scales, width)
        words = [episode.name, f"frame {number}"]
        cell = np.concatenate([_labelled(picture, words), bars])
        cells.append(np.pad(cell, ((0, 0), (0, 2), (0, 0))))
    return np.concatenate(cells, 1)


def _bars(action: np.ndarray, spec: ActionSpec, scales: dict[int, float], width: int) -> np.ndarray:
    import cv2

    height = (NAME + BAR) * len(scales)
    out = np.full((height + STRIP, width, 3), GROUND, np.uint8)
    middle = width // 2
    cv2.line(out, (middle, 0), (middle, height), AXIS, 1)
    for place, (k, scale) in enumerate(scales.items()):
        top = (NAME + BAR) * place + NAME
        end = middle + round(float(action[k] / scale) * (middle - 2))
        cv2.rectangle(out, (min(middle, end), top + 1), (max(middle, end), top + BAR - 2), INK, -1)
        _write(out, spec.names[k][:12], (2, top - 2), 0.28)
    return out


def _labelled(picture: np.ndarray, words: list[str]) -> np.ndarray:
    """A picture under its name and number, on two lines where they are wider than it is."""
    out, line = np.ascontiguousarray(picture), ", ".join(words)
    lines = [line] if _wide(line) <= out.shape[1] - 6 else words
    for number, text in enumerate(lines):
        _write(out, text, (3, 11 + 12 * number), LABEL)
    return out


def _wide(text: str) -> int:
    """Pixels that a label takes."""
    import cv2

    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, LABEL, 1)
    return int(width)


def _write(picture: np.ndarray, text: str, at: tuple[int, int], size: float) -> None:
    """White text with a black edge; letters of another thickness are also wider in OpenCV 5."""
    import cv2

    black, white, font = (0, 0, 0), (255, 255, 255), cv2.FONT_HERSHEY_SIMPLEX
    around = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y]
    for (x, y), colour in (*((place, black) for place in around), ((0, 0), white)):
        cv2.putText(picture, text, (at[0] + x, at[1] + y), font, size, colour, 1, cv2.LINE_AA)
