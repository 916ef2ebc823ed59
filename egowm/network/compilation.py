"""torch.compile on a network's blocks, in place: names, hooks around them and LoRA inside stay.

A network that is compiled as a whole does not look at hooks that come later, and would ignore
every action. So only what lies below the hooks of `egowm.conditioning.inject` is compiled.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn

Compiler = Literal["inductor", "aot_eager"]
RECOMPILATIONS = 64  # of one piece of code, before torch gives up; a UNet has many widths


def compile_blocks(
    blocks: Iterable[nn.Module], compiler: Compiler | Literal["cudagraphs"] = "inductor"
) -> int:
    """Compile each block when it is first called (idempotent); returns their number.

    Args:
        blocks: those of a backbone, `backbone.blocks`, in the order in which they compute.
        compiler: torch's backend; "cudagraphs" is inductor's code replayed as CUDA graphs on a GPU,
            for rollouts alone, and without them on a CPU.

    >>> compile_blocks([nn.Linear(2, 2), nn.Linear(2, 2)])
    2
    """
    import torch._dynamo

    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, RECOMPILATIONS)
    compiled = list(blocks)
    for block in compiled:
        if compiler == "cudagraphs":
            block.compile(mode="reduce-overhead")
        else:
            block.compile(backend=compiler)
    if compiler == "cudagraphs" and compiled:
        _begin_a_pass(compiled[0])
    return len(compiled)


def _begin_a_pass(block: nn.Module) -> None:
    """Tell CUDA graphs, before the first block of each pass, that they may write over what the pass
    before gave; what one block gives to another stays until then."""
    compiled = block._compiled_call_impl
    assert compiled is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return compiled(*args, **kwargs)

    block._compiled_call_impl = call
