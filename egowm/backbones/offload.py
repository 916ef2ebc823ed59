"""Frozen parts that lie in the machine's memory and come to the card while they are needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def brought_to(device: torch.device, modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, the weights of frozen modules are on `device`; afterwards where they were.

    What lies in the machine's memory stays there, so only the way to the card takes time.
    Raises ValueError where a gradient is to flow through them: the way back would miss them.
    """
    if torch.is_grad_enabled():
        raise ValueError(
            "A gradient through the VAE needs it on the card all the time: set "
            "--model.offload false (WorldModel(..., offload=False))."
        )
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    homes = [tensor.data for tensor in tensors]
    try:
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.data = home.to(device, non_blocking=True)
        yield
    finally:
        for tensor, home in zip(tensors, homes, strict=True):
            tensor.data = home
