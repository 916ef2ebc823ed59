"""The frames of a batch's clips, read into one tensor: each file forwards, each frame once."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from egowm.clip import Clip
from egowm.data.episode import Episode
from egowm.video import write_planes

MOST = 64  # frames as recorded that are in memory at once, unless one clip has more


class Wanted(NamedTuple):
    """The frames of one clip. number: of the episode; later ones lie further on in shared files."""

    number: int
    episode: Episode
    indices: range


def read_batch(wanted: Sequence[Wanted], height: int, width: int) -> Tensor:
    """Frames (B, n, 3, H, W) uint8 of B clips of n frames.

    Clips of one episode are read in the order of its frames, and those that overlap at once: a
    video is decoded forwards, and does not begin again at a key frame for each clip.
    """
    batch = _empty((len(wanted), len(wanted[0].indices), 3, height, width))
    out = batch.numpy()
    for run in _runs(wanted):
        episode = wanted[run[0]].episode
        if len(run) == 1 or episode.read_planes is not None:
            for k in run:
                read_planes(episode, wanted[k].indices, out[k])
        else:
            chosen = np.unique(np.concatenate([wanted[k].indices for k in run]))
            frames = np.empty((len(chosen), *out.shape[2:]), np.uint8)
            read_planes(episode, chosen.tolist(), frames)
            for k in run:
                np.take(frames, np.searchsorted(chosen, wanted[k].indices), axis=0, out=out[k])
    return batch


def read_planes(episode: Episode, indices: Sequence[int], out: np.ndarray) -> None:
    """Frames of an episode into `out` (n, 3, H, W) uint8, at its size."""
    if episode.read_planes is not None:
        episode.read_planes(indices, out)
    else:
        write_planes(episode.read(indices), out)


def collate(clips: Sequence[Clip]) -> Clip:
    """`default_collate` of clips, without a copy where `read_batch` read them."""
    first = clips[0].frames
    size, storage = first.numel(), first.untyped_storage().data_ptr()
    beside = all(
        clip.frames.is_contiguous()
        and clip.frames.shape == first.shape
        and clip.frames.untyped_storage().data_ptr() == storage
        and clip.frames.storage_offset() == first.storage_offset() + k * size
        for k, clip in enumerate(clips)
    )
    if not beside:
        return Clip(*default_collate(list(clips)))
    frames = first.as_strided((len(clips), *first.shape), (size, *first.stride()))
    return Clip(frames, *default_collate([clip[1:] for clip in clips]))


def _runs(wanted: Sequence[Wanted]) -> Iterator[list[int]]:
    """Positions of clips by episode and first frame; overlapping ones together."""
    run: list[int] = []
    for k in sorted(range(len(wanted)), key=lambda k: (wanted[k].number, wanted[k].indices[0])):
        new, first = wanted[k], wanted[run[0]] if run else None
        if first is not None and (
            new.number != first.number
            or new.indices[0] > max(wanted[j].indices[-1] for j in run)
            or new.indices[-1] - first.indices[0] >= MOST * new.indices.step
        ):
            yield run
            run = []
        run.append(k)
    yield run


def _empty(shape: tuple[int, ...]) -> Tensor:
    """uint8; in a loader's worker in memory that its parent sees too, as torch's own collate.
    Elsewhere numpy's, which asks Linux for large pages: the first touch of small ones takes longer
    than the copy."""
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, np.uint8))
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
