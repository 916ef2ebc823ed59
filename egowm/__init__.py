"""Egocentric world models from pretrained video diffusion pipelines: fit, score, plan.

Shape letters, used in every docstring of the package:

====  =====================================  ====  =====================================
`B`   batch                                  `A`   action width
`K`   context frames                         `S`   state width
`T`   future frames                          `D`   embedding width
`C`   channels                               `N`   candidates
`H W` pixels                                 `O`   objects
`h w` latent pixels                          `t`   latent frames
====  =====================================  ====  =====================================

Time is the second axis: `(B, T, C, H, W)`. `actions[k]` takes frame `K-1+k` to frame `K+k`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egowm.actions import ActionSpec
    from egowm.world_model import WorldModel

__all__ = ["ActionSpec", "WorldModel", "__version__"]
__version__ = "0.1.0"

_LAZY = {"ActionSpec": "egowm.actions", "WorldModel": "egowm.world_model"}


def __getattr__(name: str) -> Any:
    """Imports `WorldModel` and `ActionSpec` on first use, so that `import egowm` loads no torch."""
    if name not in _LAZY:
        raise AttributeError(f"module 'egowm' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
