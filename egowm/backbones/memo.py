"""What a frozen encoder said of pictures met before: a data set that fits is encoded once."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

import torch
from torch import Tensor


class Memo:
    """Up to `size` answers in memory, on the CPU; the oldest leave first. 0 remembers nothing."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Expected memo_frames of 0 or more, got {size}.")
        self.size = size
        self.known: OrderedDict[bytes, Tensor] = OrderedDict()

    def __call__(
        self,
        pictures: Tensor,
        compute: Callable[[Tensor], Tensor],
        known: Tensor | None = None,
    ) -> Tensor:
        """`compute` of pictures or videos (N, ...) in [-1, 1], only for those not met before.

        known: the answers (N, ...), where a latent cache holds them.
        """
        if known is not None:
            if len(known) != len(pictures):
                raise ValueError(
                    f"Expected what a cache knows of {len(pictures)} pictures, got {len(known)}."
                )
            return known.to(pictures)
        if not self.size or pictures.requires_grad:  # what is remembered has no gradient
            return compute(pictures)
        pixels = ((pictures + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        keys = [blake2b(picture.tobytes(), digest_size=16).digest() for picture in pixels]
        missing = {key: k for k, key in enumerate(keys) if key not in self.known}
        if missing:
            made = compute(pictures[list(missing.values())]).cpu()
            self.known.update(zip(missing, made, strict=True))
        found = torch.stack([self.known[key] for key in keys]).to(pictures)
        while len(self.known) > self.size:
            self.known.popitem(last=False)
        return found
