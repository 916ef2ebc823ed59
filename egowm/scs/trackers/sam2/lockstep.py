"""Many objects in many videos of one length, all in the same frame at the same time.

No object sees another, so the batch gives what one object after the other gives.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from egowm.scs.trackers.sam2.network import Features, Network
from egowm.scs.trackers.sam2.pictures import to_pixels, to_prompts


class Memory:
    """What SAM 2 keeps of N tracks that began in frame 0: 7 memories and 16 pointers of each.

    pointer: (N, C) and memory: (h * w, N, M) of frame 0, which stay. num_frames: of the videos,
    frame 0 included; the age of a pointer is measured against it, up to 16.
    """

    kept_in = torch.bfloat16  # memories, in whatever dtype they are computed; both libraries do so

    def __init__(self, network: Network, pointer: Tensor, memory: Tensor, num_frames: int) -> None:
        config = network.config
        self.network = network
        self.first_pointer, self.first_memory = pointer, memory.to(self.kept_in)
        self.most_pointers = min(num_frames, config.max_object_pointers_in_encoder)
        self.pointers: deque[Tensor] = deque(maxlen=self.most_pointers - 1)  # newest first
        self.memories: deque[Tensor] = deque(maxlen=config.num_maskmem - 1)  # newest first
        self.num_seen = 1  # frames
        ages = network.model.memory_temporal_positional_encoding  # (7, 1, 1, M)
        # Of memories of age 1 to 6; the last is frame 0's, whatever its age.
        self._positions = network.memory_position() + ages[:, 0]  # (7, h * w, M)

    def add(self, pointer: Tensor, memory: Tensor) -> None:
        """Keep `pointer (N, C)` and `memory (h * w, N, M)` of the next frame."""
        self.pointers.appendleft(pointer)
        self.memories.appendleft(memory.to(self.kept_in))
        self.num_seen += 1

    def recall(self) -> tuple[Tensor, Tensor, int]:
        """All tokens (L, N, M), their positions (L, 1, M), and how many of them are pointers."""
        ages = range(len(self.memories), 0, -1)
        kept = [self.first_memory, *(self.memories[age - 1] for age in ages)]
        where = [self._positions[-1], *(self._positions[age - 1] for age in ages)]
        tokens, places = self._pointer_tokens()
        dtype = self.first_pointer.dtype
        memory = torch.cat([*(m.to(dtype) for m in kept), tokens])
        return memory, torch.cat([*where, places])[:, None], len(tokens)

    def _pointer_tokens(self) -> tuple[Tensor, Tensor]:
        """Pointers cut into tokens as wide as a memory, (P, N, M), and their places (P, M)."""
        model = self.network.model
        pointers = torch.stack([self.first_pointer, *self.pointers])  # (K, N, C)
        width, parts = model.mem_dim, max(1, pointers.shape[2] // model.mem_dim)
        tokens = pointers.unflatten(2, (parts, -1)).transpose(1, 2).flatten(0, 1)
        if not self.network.config.enable_temporal_pos_encoding_for_object_pointers:
            return tokens, tokens.new_zeros(len(tokens), width)
        ages = [self.num_seen, *range(1, len(self.pointers) + 1)]
        age = torch.tensor(ages, device=pointers.device, dtype=torch.float32)
        waves = _sine(age / (self.most_pointers - 1), pointers.shape[2]).to(pointers.dtype)
        places = model.temporal_positional_encoding_projection_layer(waves)
        return tokens, places.repeat_interleave(parts, 0)


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


def _sine(values: Tensor, width: int) -> Tensor:
    """`values (K,)` as sines and cosines of falling frequency, (K, width)."""
    half = width // 2
    steps = torch.arange(half, device=values.device, dtype=torch.float32)
    angles = values[:, None] / 10000 ** (2 * (steps // 2) / half)
    return torch.cat([angles.sin(), angles.cos()], 1)
