"""torch.compile on a network's blocks, in place: names, hooks around them and LoRA inside stay.

A network that is compiled as a whole does not look at hooks that come later, and would ignore
every action. So only what lies below the hooks of `egowm.conditioning.inject` is compiled.
"""

from collections.abc import Iterable
from typing import Literal

from torch import nn

Compiler = Literal["inductor", "aot_eager"]
RECOMPILATIONS = 64  # of one piece of code, before torch gives up; a UNet has many widths


def compile_blocks(blocks: Iterable[nn.Module], compiler: Compiler = "inductor") -> int:
    """Compile each block when it is first called (idempotent); returns their number.

    Args:
        blocks: those of a backbone, `backbone.blocks`.
        compiler: torch's backend.

    >>> compile_blocks([nn.Linear(2, 2), nn.Linear(2, 2)])
    2
    """
    import torch._dynamo

    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, RECOMPILATIONS)
    compiled = list(blocks)
    for block in compiled:
        block.compile(backend=compiler)
    return len(compiled)
