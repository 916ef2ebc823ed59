"""`torch.compile` for a network that actions enter by hooks.

A whole network that is compiled ignores hooks that come later, and with them every action, without
a word. Its blocks do not: `egowm.conditioning.inject` hooks what lies around them.
"""

from typing import Any

from torch import nn

_STAGED = ("resnets", "attentions", "downsamplers", "upsamplers")  # inside each stage of a UNet
_VARIANTS = 64  # widths and sizes of one class of block in one network; torch gives up after 8


def compile_blocks(network: nn.Module, *, backend: str = "inductor") -> int:
    """Compile the blocks of a backbone's network in place; how many these are.

    The first calls are slow, then each new shape (micro-batch, frames, size) once more. Outputs
    agree with the plain network's up to rounding. Raises TypeError for an unknown network.
    """
    from torch._dynamo import config

    found = _blocks(network)
    config.recompile_limit = max(config.recompile_limit, _VARIANTS)
    for block in found:
        block.compile(backend=backend)
    return len(found)


def _blocks(network: Any) -> list[nn.Module]:
    for name in ("transformer_blocks", "blocks"):
        if hasattr(network, name):
            return [*getattr(network, name)]
    if not hasattr(network, "down_blocks"):
        raise TypeError(f"Do not know the blocks of {type(network).__name__}.")
    stages = [*network.down_blocks, network.mid_block, *network.up_blocks]
    parts = [getattr(stage, name, None) or () for stage in stages for name in _STAGED]
    return [block for part in parts for block in part]
