"""The README's moving picture: two unseen rooms, the truth beside what the world model imagines.

    python -m benchmarks.experiment.picture docs/rooms.webp

Frame by frame at the robot's pace: what the camera saw, the model told the actions of that drive,
and the model told the actions of another drive. Rooms are not chosen by what the model makes of
them: of the 64 that the tables are about, they are those where the other drive leads to the least
similar frames in the simulator.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.experiment.room_clips import RoomClips, unseen_clips
from benchmarks.measure import Script
from egowm.files import whole
from egowm.video import resize, webp_bytes
from egowm.world_model import WorldModel

LABELS = ("truth", "told its own actions", "told another clip's actions")
ROOMS = 2
SIDE, HEADER, GAP = 192, 26, 6  # pixels: of a panel, of the labels' line, between panels
HELD = 4  # frames for which the last one stands before the picture starts again


def work(arguments: argparse.Namespace) -> None:
    picture = moving(WorldModel.from_pretrained("rooms"), unseen_clips())
    with whole(arguments.output) as temporary:
        temporary.write_bytes(picture)


def moving(model: WorldModel, clips: RoomClips) -> bytes:
    """A WebP of the clips where another clip's actions lead farthest away in the simulator."""
    apart = clips.score(clips.simulated("shuffled")).scs
    clips.keep(np.argsort(apart, kind="stable")[:ROOMS].tolist())
    videos = [clips.truth]
    for kind in ("true", "shuffled"):
        pairs = zip(clips.truth, clips.imagined(model, kind), strict=True)
        videos.append([np.concatenate([truth[:1], frames]) for truth, frames in pairs])
    return webp_bytes(film(videos), clips.data.clip_meaning.rate_hz)


def film(videos: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Labelled frames (T+1+HELD, H', W', 3) uint8: a column for each label, a row for each clip.

    videos: for each label one video (T+1, H, W, 3) uint8 of each clip.
    """
    columns = [
        np.concatenate([_framed(resize(video, SIDE, SIDE)) for video in column], 1)
        for column in videos
    ]
    panels = np.concatenate(columns, 2)
    header = np.broadcast_to(_header(panels.shape[2]), (len(panels), HEADER, panels.shape[2], 3))
    frames = np.concatenate([header, panels], 1)
    return np.concatenate([frames, np.repeat(frames[-1:], HELD, 0)])


def _framed(video: np.ndarray) -> np.ndarray:
    """With white to the right and below."""
    return np.pad(video, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _header(width: int) -> np.ndarray:
    """The labels in dark text on white (HEADER, width, 3)."""
    image = Image.new("RGB", (width, HEADER), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    for k, label in enumerate(LABELS):
        middle = k * (SIDE + GAP) + SIDE / 2
        draw.text((middle, HEADER / 2), label, fill=(20, 20, 20), font=font, anchor="mm")
    return np.array(image)


main = Script(__file__, __doc__, lambda add: add("output", type=Path, help="WebP"), work)
if __name__ == "__main__":
    sys.exit(main())
