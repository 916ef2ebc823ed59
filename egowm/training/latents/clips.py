"""Clips out of a latent cache: which rows of it take the place of which frames."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from egowm.backbones.base import Backbone
from egowm.checks import counted
from egowm.clip import NONE, Encodings
from egowm.data.module import Window, Windows
from egowm.training.latents.cache import RUN, LatentCache


@dataclass(frozen=True)
class CachedClips:
    """Cached encodings of some windows, in place of their frames.

    firsts, steps: of each episode, its first row and the frames between rows. frame_wise: rows are
    frames. context: frames K that the backbone is given. pixels: whether the context's come along.
    """

    cache: LatentCache
    window: Window
    firsts: np.ndarray
    steps: np.ndarray
    frame_wise: bool
    context: int
    pixels: bool

    def read(self, number: int, start: int) -> tuple[Tensor, Encodings]:
        """Pixels (K, 3, H, W) uint8 of the context, or (0, 3, H, W), and the encodings."""
        w, first, tensors = self.window, int(self.firsts[number]), self.cache.index["tensors"]
        frames = torch.zeros(0, 3, w.height, w.width, dtype=torch.uint8)
        if not self.frame_wise:
            row = [first + start // int(self.steps[number])]
            return frames, Encodings(**{k: self.cache.rows(k, row)[0] for k in tensors})
        start += (w.context - self.context) * w.stride
        wanted = [first + start + k * w.stride for k in range(self.context + w.horizon)]
        last = wanted[self.context - 1 : self.context]
        image = self.cache.rows("image", last)[0] if "image" in tensors else NONE
        if self.pixels:
            frames = self.cache.rows("pixels", wanted[: self.context])
        return frames, Encodings(self.cache.rows("latents", wanted), image=image)


def found_in(cache: LatentCache, windows: Windows, backbone: Backbone) -> CachedClips:
    """The rows of some windows; ValueError for episodes or windows that the cache lacks."""
    firsts, steps = [], []
    for episode in windows.episodes:
        row = cache.episodes.get((windows.source, episode.name))
        if row is None and episode.num_frames < windows.window.span:
            row = {"num_frames": episode.num_frames, "first": 0, "step": 1}  # it has no window
        if row is None or row["num_frames"] != episode.num_frames:
            held = "none of that name" if row is None else f"one of {row['num_frames']}"
            raise ValueError(
                f"{cache.folder}: expected episode {windows.source} {episode.name} of "
                f"{counted(episode.num_frames, 'frame')}, the cache has {held}: make one of these "
                f"recordings with {RUN}."
            )
        firsts.append(row["first"])
        steps.append(row["step"])
    if not backbone.codec.frame_wise:
        _check_starts(cache, windows)
    _check_pictures(cache, windows)
    counts = backbone.codec.frame_wise, backbone.context, backbone.codec.needs_pixels
    return CachedClips(cache, windows.window, np.array(firsts), np.array(steps), *counts)


def picture_sha256(windows: Windows, number: int) -> str:
    """Of an episode's first frame at the window's size: names alone do not tell cameras apart."""
    return hashlib.sha256(windows.pictures(number, [0]).numpy().tobytes()).hexdigest()


def _check_starts(cache: LatentCache, windows: Windows) -> None:
    for number, start in windows.index.tolist():
        row = cache.episodes[windows.source, windows.episodes[number].name]
        if start % row["step"] or start // row["step"] >= row["rows"]:
            raise ValueError(
                f"{cache.folder}: the window at frame {start} of episode "
                f"{windows.episodes[number].name} is not in the cache, which has one every "
                f"{counted(row['step'], 'frame')} there: make another one with {RUN}."
            )


def _check_pictures(cache: LatentCache, windows: Windows) -> None:
    for number, episode in enumerate(windows.episodes):
        held = cache.index["pictures"].get(f"{windows.source}/{episode.name}")
        if held is not None and held != picture_sha256(windows, number):
            raise ValueError(
                f"{cache.folder}: episode {windows.source} {episode.name} has other pictures than "
                f"the cache was made of: make another one with {RUN}."
            )
