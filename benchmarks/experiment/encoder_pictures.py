"""What image encoders see in unseen rooms: colours of patches, completed views, tokens.

    python -m benchmarks.experiment.encoder_pictures docs/encoders.png --folder ~/encoders

Exports of `benchmarks.experiment.encoders`, the first seed; --moog is the export of a MooG. The
rooms are the first ones of the test, not chosen by what is seen in them.
"""

import argparse
import colorsys
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.experiment.encoders import LIVING, Encode, data_of, export_of, pixels
from benchmarks.experiment.lives import exports
from benchmarks.measure import Script, positive
from benchmarks.planning.encoder_costs import untrained
from egowm.encoder import Encoder
from egowm.encoders import MooG, SingleLife, completions, patch_colours, token_maps
from egowm.files import whole
from egowm.pixels import to_uint8, to_unit
from egowm.worlds.store import read_frames

COLUMNS, SIDE, GAP, MARGIN, HEADING = 6, 112, 4, 190, 34
PAIR = 6  # frames from the source of a completed view to its target
FIRST, STRIDE = 8, 3  # of the clip whose tokens are followed
COLOURED = ("I-JEPA", "DINOv2", LIVING)


class Section(NamedTuple):
    """Rows of pictures (COLUMNS, 3, h, w) in [0, 1] under a heading."""

    heading: str
    rows: dict[str, Tensor]


def options(add: Callable[..., Any]) -> None:
    add("output", type=Path, help="PNG")
    add("--folder", type=Path, required=True, help="of the exports")
    add("--moog", type=Path, help="export of a MooG")
    add("--trained", type=positive, default=256, help="rooms that encoders were trained in")


def work(arguments: argparse.Namespace) -> None:
    data = data_of("rooms_ijepa", arguments.trained)
    data.windows("test", tiled=True)
    rooms = [data.folder / f"room_{seed}" for seed in data.seeds("test")[:COLUMNS]]
    folder = arguments.folder.expanduser()
    sections = [
        coloured(rooms, folder, arguments.trained),
        completed(rooms, folder, arguments.trained),
    ]
    if arguments.moog is not None:
        sections.append(followed(rooms[0], arguments.moog.expanduser()))
    with whole(arguments.output) as temporary:
        drawn(sections).save(temporary, format="PNG", optimize=True)


def seen(room: Path, frames: Sequence[int]) -> Tensor:
    """(F, 3, H, W) in [0, 1]."""
    return to_unit(torch.from_numpy(read_frames(room, list(frames)).transpose(0, 3, 1, 2).copy()))


def last_export(name: str, folder: Path, trained: int) -> Path:
    there = exports(export_of(name, 0, folder, trained))
    if not there:
        raise FileNotFoundError(f"{name}: no export in {folder}.")
    return there[-1]


def coloured(rooms: Sequence[Path], folder: Path, trained: int) -> Section:
    """Colours of patches: what is alike to an encoder."""
    frames = torch.cat([seen(room, (0,)) for room in rooms])
    encoders: dict[str, Encode] = {
        name: Encoder.from_pretrained(last_export(name, folder, trained)).encode
        for name in COLOURED
    }
    encoders |= {"untrained": untrained(0).encode, "pixels": pixels(8)[0]}
    rows = {"frame": frames}
    with torch.no_grad():
        rows |= {name: patch_colours(encode(frames).patches) for name, encode in encoders.items()}
    return Section("Three principal components of the patches, as colours", rows)


def completed(rooms: Sequence[Path], folder: Path, trained: int) -> Section:
    """What SingleLife makes of a hidden target when it sees its source."""
    model = SingleLife.from_pretrained(last_export(LIVING, folder, trained))
    pairs = torch.stack([seen(room, (0, PAIR)) for room in rooms])
    made = completions(model, pairs[:, 0], pairs[:, 1])
    rows = {"source": pairs[:, 0], "target, 90 % hidden": made.seen}
    rows |= {"completed": made.completed, "target": pairs[:, 1]}
    return Section(f"SingleLife: a view completed from one {PAIR} frames before", rows)


def followed(room: Path, moog: Path) -> Section:
    """Which token each pixel looks at, in a clip."""
    model = MooG.from_pretrained(moog)
    numbers = [FIRST + STRIDE * k for k in range(COLUMNS)]
    frames = seen(room, range(numbers[-1] + 1))
    maps = token_maps(model, frames[None])[0][numbers]
    colours = torch.tensor([hue(k) for k in range(int(model.network.num_tokens))])
    rows = {"frame": frames[numbers], "token looked at most": colours[maps].movedim(-1, 1)}
    return Section("MooG: the token of each pixel, every third frame of a clip", rows)


def hue(number: int) -> tuple[float, float, float]:
    """Neighbouring numbers have distant hues."""
    turn = number * 0.6180339887 % 1
    return colorsys.hsv_to_rgb(turn, 0.55 + 0.35 * (number % 2), 0.95 - 0.3 * (number % 3) / 2)


def drawn(sections: Sequence[Section]) -> Image.Image:
    """All rows, labelled, on white."""
    rows = sum(len(section.rows) for section in sections)
    size = (MARGIN + COLUMNS * (SIDE + GAP), len(sections) * HEADING + rows * (SIDE + GAP))
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    large, small = (ImageFont.load_default(size=size) for size in (16, 14))
    top = 0
    for section in sections:
        draw.text((8, top + HEADING / 2), section.heading, "black", large, anchor="lm")
        top += HEADING
        for name, pictures in section.rows.items():
            draw.text((8, top + SIDE / 2), name, (60, 60, 60), small, anchor="lm")
            for column, picture in enumerate(to_uint8(pictures)):
                panel = Image.fromarray(np.asarray(picture)).resize(
                    (SIDE, SIDE), Image.Resampling.NEAREST
                )
                page.paste(panel, (MARGIN + column * (SIDE + GAP), top))
            top += SIDE + GAP
    return page


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
