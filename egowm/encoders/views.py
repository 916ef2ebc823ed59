"""Views of pictures for self-distillation: large and small crops, and hidden blocks of patches."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from egowm.checks import check_between
from egowm.encoders.crops import random_crops

HIDDEN, HIDDEN_SHARE = 0.5, (0.1, 0.5)  # share of pictures, and of the patches of these
ASPECT, LEAST = (0.3, 1 / 0.3), 4  # of a block: height over width, and patches


class Views(NamedTuple):
    """Views of M pictures in [0, 1].

    whole: (2, M, 3, H, W), large crops. local: (L, M, 3, h, w), small ones, enlarged less.
    masks: (2, M, N) bool, the patches of the large ones that are hidden from the student.
    """

    whole: Tensor
    local: Tensor
    masks: Tensor


class MultiCrop:
    """Draws the views of pictures (SwAV, arXiv 2006.09882, section 3.2).

    Args:
        size: H and W of the large crops.
        patch: H and W of a patch, by which both sizes can be divided.
        crop: Smallest share of a picture's area in a large crop, largest one in a small crop.
        local_crop: Smallest share in a small crop.
        local_crops: Small crops of each picture.
        local_size: H and W of the small crops.
        photometric: Mirror, recolour, blur and grey some crops, each by its own draw.
    """

    def __init__(
        self,
        size: int,
        patch: int,
        crop: float,
        local_crop: float,
        local_crops: int,
        local_size: int,
        photometric: bool,
    ) -> None:
        check_between("crop", crop, 0.01, 1.0)
        check_between("local_crop", local_crop, 0.001, crop)
        check_between("local_crops", local_crops, 0, 1000)
        check_between("local_size", local_size, patch, size)
        if local_size % patch:
            raise ValueError(
                f"Expected a local_size that is a multiple of the patch, got {local_size} and "
                f"{patch}."
            )
        self.side, self.photometric = size // patch, photometric
        self.whole = (2, size, (crop, 1.0))
        self.local = (local_crops, local_size, (local_crop, crop))

    def __call__(
        self, frames: Tensor, hide: bool, generator: torch.Generator | None = None
    ) -> Views:
        """Views of frames (M, 3, H, W) in [0, 1].

        Args:
            frames: (M, 3, H, W).
            hide: Hide patches of some large crops.
            generator: On the CPU; None takes torch's own.
        """
        count = 2 * len(frames)
        with seeded(generator):
            whole, local = self._crops(frames, *self.whole), self._crops(frames, *self.local)
            masks = torch.zeros(count, self.side**2, dtype=torch.bool)
            if hide:
                masks = hidden_patches(self.side, count)
        return Views(whole, local, masks.to(frames.device).unflatten(0, (2, -1)))

    def _crops(self, frames: Tensor, count: int, size: int, share: tuple[float, float]) -> Tensor:
        """(count, M, 3, size, size)."""
        if not count:
            return frames.new_zeros(0, len(frames), 3, size, size)
        crops = random_crops(frames.repeat(count, 1, 1, 1), size, share)
        if self.photometric:
            change = photometric_change(size)
            crops = torch.stack([change(crop) for crop in crops])
        return crops.unflatten(0, (count, -1))


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Let torch's own generator draw from a seed of this one; None leaves it as it is."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        yield


def photometric_change(size: int) -> torch.nn.Module:
    """DINOv2's changes of a crop (3, size, size) but for hue, which costs as much as the others
    together, and for inverting bright pixels."""
    from torchvision.transforms import v2

    kernel = max(3, size // 10 | 1)  # pixels, odd
    changes = [
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2)], 0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], 0.5),
    ]
    return v2.Compose(changes)  # type: ignore[no-any-return]


def hidden_patches(side: int, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Which patches are hidden from the student, (count, side * side) bool: none in half of the
    pictures, 0.1 to 0.5 of them, evenly spread, in the others (DINOv2, arXiv 2304.07193).

    A picture's are blocks of random size and shape (BEiT, arXiv 2106.08254, algorithm 1), the last
    one cut off where the number is reached.

    Args:
        side: Patches along a side.
        count: Pictures.
        generator: On the CPU; None takes torch's own.

    >>> hidden_patches(8, 4, torch.Generator().manual_seed(0)).sum(1).sort().values.tolist()
    [0, 0, 6, 32]
    """
    some = max(1, round(HIDDEN * count))
    shares = torch.linspace(*HIDDEN_SHARE, some).tolist()
    numbers = [max(1, int(share * side**2)) for share in shares] + [0] * (count - some)
    order = torch.randperm(count, generator=generator).tolist()
    return torch.stack([_blocks(side, numbers[k], generator) for k in order])


def _blocks(side: int, wanted: int, generator: torch.Generator | None) -> Tensor:
    """Exactly so many patches of a picture, (side * side,) bool."""
    hidden = torch.zeros(side, side, dtype=torch.bool)
    while (left := wanted - int(hidden.sum())) > 0:
        area, shape, y, x = torch.rand(4, generator=generator).tolist()
        area = min(LEAST, left) + area * (left - min(LEAST, left))
        low, high = map(math.log, ASPECT)
        ratio = math.exp(low + (high - low) * shape)
        height = min(side, max(1, round(math.sqrt(area * ratio))))
        width = min(side, max(1, round(math.sqrt(area / ratio))))
        top, begin = int(y * (side - height + 1)), int(x * (side - width + 1))
        block = torch.zeros_like(hidden)
        block[top : top + height, begin : begin + width] = True
        new = (block & ~hidden).flatten().nonzero()[:left, 0]
        hidden.view(-1)[new] = True
    return hidden.flatten()
