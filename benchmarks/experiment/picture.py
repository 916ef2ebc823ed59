"""The README's moving picture: two unseen rooms, the truth beside what the world model imagines.

    python -m benchmarks.experiment.picture docs/rooms.webp

Frame by frame at the robot's pace: what the camera saw, the model told the actions of that drive,
and the model told the actions of another drive. Rooms are not chosen for their looks: they are the
first and the middle one of the 64 that the tables are about.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.experiment.room_clips import RoomClips
from benchmarks.experiment.rooms import CLIPS, FRAMES, unseen_rooms
from egowm.files import whole
from egowm.video import resize, webp_bytes
from egowm.world_model import WorldModel

LABELS = ("truth", "told its own actions", "told another clip's actions")
SIDE, HEADER, GAP = 192, 26, 6  # pixels: of a panel, of the labels' line, between panels
HELD = 4  # frames for which the last one stands before the picture starts again


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="WebP")
    args = parser.parse_args(argv)
    clips = RoomClips(unseen_rooms(), CLIPS, FRAMES)
    clips.keep([0, CLIPS // 2])
    model = WorldModel.from_pretrained("rooms")
    first = [frames[:1] for frames in clips.truth]
    made = [clips.imagined(model, kind) for kind in ("true", "shuffled")]
    videos = [[frames[1:] for frames in clips.truth], *made]
    whole_videos = [
        [np.concatenate(pair) for pair in zip(first, video, strict=True)] for video in videos
    ]
    assert clips.data.meaning is not None
    with whole(args.output) as temporary:
        temporary.write_bytes(webp_bytes(film(whole_videos), clips.data.meaning.rate_hz))
    return 0


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
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, HEADER), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    for k, label in enumerate(LABELS):
        middle = k * (SIDE + GAP) + SIDE / 2
        draw.text((middle, HEADER / 2), label, fill=(20, 20, 20), font=font, anchor="mm")
    return np.array(image)


if __name__ == "__main__":
    raise SystemExit(main())
