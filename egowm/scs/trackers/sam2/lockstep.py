"""Many objects in many videos of one length, all in the same frame at the same time.

No object sees another, so the batch gives what one object after the other gives.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from egowm.scs.trackers.sam2.memory import Memory
from egowm.scs.trackers.sam2.network import Features, Network
from egowm.scs.trackers.sam2.preprocess import to_pixels, to_prompts


class Step(NamedTuple):
    """Every object of every video, in the order given, in one frame."""

    logits: Tensor  # (N, S / 4, S / 4)
    scores: Tensor  # (N,)


class _Group(NamedTuple):
    """Tracks that are computed at once."""

    video: Tensor  # (N,), index of the video of each
    memory: Memory


@torch.inference_mode()
def follow(
    network: Network,
    videos: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    batch_images: int = 16,
    batch_tracks: int = 64,
) -> Iterator[Step]:
    """What is found in frames 1..T of `videos`, each (T+1, H, W, 3) uint8 and of one shape.

    masks: of frame 0, (O, H, W) bool, for each video. batch_images and batch_tracks bound how many
    frames are encoded and how many tracks computed at once; they change speed and memory only.
    """
    groups = _begin(network, videos, masks, batch_tracks)
    num_frames = len(videos[0])
    block = max(1, batch_images // len(videos))  # frames whose features are held at once
    for start in range(1, num_frames, block):
        frames = range(start, min(start + block, num_frames))
        images = np.concatenate([video[frames.start : frames.stop] for video in videos])
        features = _encode(network, images, batch_images)
        for k in range(len(frames)):
            at = torch.arange(len(videos), device=network.device) * len(frames) + k
            steps = [_advance(network, group, features.take(at[group.video])) for group in groups]
            yield Step(*(torch.cat(parts) for parts in zip(*steps, strict=True)))
        del features


def _begin(
    network: Network,
    videos: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    batch_tracks: int,
) -> list[_Group]:
    """Frame 0: a picture with its masks is computed once, whatever number of videos begins so."""
    starts: list[int] = []  # the first video of each kind
    kind = []
    for v, (video, found) in enumerate(zip(videos, masks, strict=True)):
        same = (
            k
            for k, s in enumerate(starts)
            if np.array_equal(videos[s][0], video[0]) and np.array_equal(masks[s], found)
        )
        kind.append(next(same, len(starts)))
        if kind[-1] == len(starts):
            starts.append(v)
    pointers, memories = [], []
    for s in starts:
        features = _encode(network, videos[s][:1], 1)
        prompts = to_prompts(masks[s], network.side, network.device)
        for some in prompts.split(batch_tracks):
            shared = features.take(torch.zeros(len(some), dtype=torch.long, device=network.device))
            pointer, memory = network.prompt(shared, some)
            pointers.append(pointer)
            memories.append(memory)
    pointer, memory = torch.cat(pointers), torch.cat(memories, 1)
    offsets = np.cumsum([0, *(len(masks[s]) for s in starts)])
    begun = [offsets[k] + np.arange(len(found)) for k, found in zip(kind, masks, strict=True)]
    where = torch.from_numpy(np.concatenate(begun)).to(network.device)
    counts = torch.tensor([len(found) for found in masks], device=network.device)
    owner = torch.arange(len(videos), device=network.device).repeat_interleave(counts)
    return [
        _Group(video, Memory(network, pointer[row], memory[:, row], len(videos[0])))
        for video, row in zip(owner.split(batch_tracks), where.split(batch_tracks), strict=True)
    ]


def _encode(network: Network, images: np.ndarray, batch_images: int) -> Features:
    """Features of `images (V, H, W, 3)` uint8."""
    parts = [images[k : k + batch_images] for k in range(0, len(images), batch_images)]
    found = [network.encode(to_pixels(part, network.side, network.device)) for part in parts]
    return Features(*(torch.cat(levels) for levels in zip(*found, strict=True)))


def _advance(network: Network, group: _Group, features: Features) -> Step:
    found = network.track(features, *group.memory.recall())
    group.memory.add(found.pointer, network.remember(features, found))
    return Step(found.logits.float(), found.score)
