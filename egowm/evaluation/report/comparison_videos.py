"""Truth and predictions side by side as video files, for players and slides."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from egowm.evaluation.run_folder import TRUTH, RunFolder

_MIN_SIDE = 192  # pixels: smaller frames are magnified by a whole number
_LABEL_HEIGHT = 22
_GAP = 4


def write_comparison(run: RunFolder, clip: str, videos: Mapping[str, np.ndarray]) -> Path:
    """Write RUN/videos/<clip>.mp4: the truth and each variant in one row under their labels.

    videos: folder -> frames (T+1, H, W, 3) uint8 of one shape, the truth among them.
    """
    from egowm.video import write_mp4

    labels = {TRUTH: "truth"} | {v.folder: v.label for v in run.variants}
    columns = [_labelled(videos[folder], label) for folder, label in labels.items()]
    gap = np.full((*columns[0].shape[:2], _GAP, 3), 255, np.uint8)
    row = [columns[0]]
    for column in columns[1:]:
        row += [gap, column]
    path = run.path / "videos" / f"{clip.replace('/', '_')}.mp4"
    write_mp4(path, np.concatenate(row, axis=2), run.fps)
    return path


def _labelled(frames: np.ndarray, label: str) -> np.ndarray:
    """Frames magnified, under a strip with the label: (n, 22 + H', W', 3)."""
    factor = max(1, _MIN_SIDE // max(frames.shape[1:3]))
    large = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    strip = np.broadcast_to(
        _strip(label, large.shape[2]), (len(large), _LABEL_HEIGHT, large.shape[2], 3)
    )
    return np.concatenate([strip, large], axis=1)


def _strip(label: str, width: int) -> np.ndarray:
    """Dark text on white (22, width, 3), cut where it would not fit."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, _LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=13)
    text = label
    while len(text) > 1 and draw.textlength(text, font=font) > width - 8:
        text = text.removesuffix("…")[:-1].rstrip() + "…"
    draw.text((4, 3), text, fill=(20, 20, 20), font=font)
    return np.array(image)
