"""What is done to a diffusers network: which part trains, checkpointing, compilation, sharding."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.network.compilation import compile_blocks

__all__ = ["compile_blocks"]

__getattr__, __dir__ = face(__name__)
