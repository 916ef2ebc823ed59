"""Small coloured worlds on disk."""

import colorsys

import numpy as np
import pytest

from egowm.scs.masks import write_palette
from egowm.video import write_frames

SIZE = 64
HUES = (0, 120, 240)


def draw(labels: np.ndarray) -> np.ndarray:
    """Ids (T, H, W) as RGB: grey where 0, else the hue of the id with some shading."""
    shade = np.linspace(0.5, 0.9, labels.shape[-1])
    frames = np.broadcast_to((shade * 110)[None, None, :, None], (*labels.shape, 3)).copy()
    for k, hue in enumerate(HUES, 1):
        colour = 255 * shade[:, None] * np.array(colorsys.hsv_to_rgb(hue / 360, 0.8, 1))
        frames = np.where((labels == k)[..., None], colour, frames)
    return frames.round().astype(np.uint8)


def moving(speeds: tuple[int, ...], num_frames: int) -> np.ndarray:
    """Ids (T+1, H, W) of 10-pixel squares, one per speed, moving to the right."""
    labels = np.zeros((num_frames, SIZE, SIZE), np.uint8)
    for t in range(num_frames):
        for k, speed in enumerate(speeds):
            left = 4 + speed * t
            labels[t, 3 + 15 * k : 13 + 15 * k, left : left + 10] = k + 1
    return labels


class World:
    """`pred/`, `gt/` and `annotations/` of squares, and what is in them."""

    def __init__(self, root, num_clips=3, num_frames=5):
        self.root, self.pred, self.gt = root, root / "pred", root / "gt"
        self.annotations = root / "annotations"
        self.truth = {f"clip{k}": moving((1, 2, k % 3), num_frames) for k in range(num_clips)}
        self.predicted = {name: moving((1, 1, 0), num_frames) for name in self.truth}
        for name in self.truth:
            write_frames(self.gt / name, draw(self.truth[name]))
            write_frames(self.pred / name, draw(self.predicted[name]))
            write_palette(self.annotations / f"{name}.png", self.truth[name][0])

    def write_masks(self, folder, inside=""):
        """The ids as palette PNG: `folder/{pred,gt}/<clip>/<inside>/00000.png`."""
        for root, clips in (("pred", self.predicted), ("gt", self.truth)):
            for name, labels in clips.items():
                for t, frame in enumerate(labels):
                    write_palette(folder / root / name / inside / f"{t:05d}.png", frame)

    def expected(self):
        """The score, from the ids."""
        from egowm.scs.score import overlap, summarise

        ids = np.array([1, 2, 3])[:, None, None]
        pairs = [
            overlap(self.predicted[name][:, None] == ids, self.truth[name][:, None] == ids)
            for name in self.truth
        ]
        return summarise(pairs)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def make_world(tmp_path):
    return lambda **options: World(tmp_path, **options)
