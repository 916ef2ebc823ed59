"""Gradient checkpointing of a diffusers network, with the blocks that diffusers leaves out."""

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

# SVD's temporal attention: left out, a checkpointed LoRA step at 512x512x8 keeps 7 GB more.
_LEFT_OUT = ("TemporalBasicTransformerBlock",)

Recompute = Callable[..., Any]  # (function, *inputs, **inputs): its outputs, kept by nobody
standard: Recompute = partial(checkpoint, use_reentrant=False)


def enable_gradient_checkpointing(network: Any, recompute: Recompute = standard) -> None:
    """Keep the inputs of each block only, and compute it again in the backward pass (idempotent).

    diffusers' `disable_gradient_checkpointing` does not undo it for the blocks that diffusers
    leaves out. Raises ValueError, from diffusers, for a network that cannot.
    """
    network.enable_gradient_checkpointing(recompute)
    for module in network.modules():
        if type(module).__name__ in _LEFT_OUT:
            module._recompute = recompute
            module._whole = MethodType(type(module).forward, module)
            module.forward = MethodType(_forward, module)


def _forward(module: Any, *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return module._whole(*inputs, **options)
    return module._recompute(module._whole, *inputs, **options)
