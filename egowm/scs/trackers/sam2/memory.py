"""What SAM 2 keeps of past frames: seven memories and sixteen pointers, however long the video."""

from collections import deque

import torch
from torch import Tensor

from egowm.scs.trackers.sam2.network import Network


class Memory:
    """Memories and pointers of N tracks that all began in frame 0.

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


def _sine(values: Tensor, width: int) -> Tensor:
    """`values (K,)` as sines and cosines of falling frequency, (K, width)."""
    half = width // 2
    steps = torch.arange(half, device=values.device, dtype=torch.float32)
    angles = values[:, None] / 10000 ** (2 * (steps // 2) / half)
    return torch.cat([angles.sin(), angles.cos()], 1)
