"""torch.compile on a network's blocks, in place: names, hooks around them and LoRA inside stay.

A network that is compiled as a whole does not look at hooks that come later, and would ignore
every action. So only what lies below the hooks of `egowm.conditioning.inject` is compiled.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from torch import nn

Compiler = Literal["inductor", "aot_eager"]
RECOMPILATIONS = 64  # of one piece of code, before torch gives up; a UNet has many widths


def compile_blocks(network: nn.Module, compiler: Compiler = "inductor") -> int:
    """Compile each block when it is first called (idempotent); returns their number.

    Raises TypeError for a network of an unknown family.
    """
    import torch._dynamo

    family = type(network).__name__
    if family not in _FAMILIES:
        raise TypeError(
            f"Do not know the blocks of {family}; known: {', '.join(_FAMILIES)}. Leave "
            f"--model.compile out."
        )
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, RECOMPILATIONS)
    blocks = list(_FAMILIES[family](network))
    for block in blocks:
        block.compile(backend=compiler)
    return len(blocks)


def _below_stages(network: Any) -> Iterable[nn.Module]:
    """SVD: residual blocks, attention and resampling; actions enter at the stages around them."""
    for stage in (*network.down_blocks, network.mid_block, *network.up_blocks):
        for part in stage.children():
            if isinstance(part, nn.ModuleList):
                yield from part


def _transformer_blocks(network: Any) -> Iterable[nn.Module]:
    return network.transformer_blocks  # type: ignore[no-any-return]


def _blocks(network: Any) -> Iterable[nn.Module]:
    return network.blocks  # type: ignore[no-any-return]


_FAMILIES: dict[str, Callable[[Any], Iterable[nn.Module]]] = {
    "UNetSpatioTemporalConditionModel": _below_stages,
    "CosmosTransformer3DModel": _transformer_blocks,
    "WanTransformer3DModel": _blocks,
    "LTXVideoTransformer3DModel": _transformer_blocks,
}
