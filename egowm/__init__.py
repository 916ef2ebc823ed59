"""Egocentric world models from pretrained video diffusion pipelines: fit, score, plan.

Shape letters, used in every docstring of the package:

| letter | axis | letter | axis |
| --- | --- | --- | --- |
| `B` | batch | `A` | action width |
| `K` | context frames | `S` | state width |
| `T` | future frames | `D` | embedding width |
| `C` | channels | `N` | candidates |
| `H W` | pixels | `O` | objects |
| `h w` | latent pixels | `t` | latent frames |

Time is the second axis: `(B, T, C, H, W)`. `actions[k]` takes frame `K-1+k` to frame `K+k`.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face
from egowm.moved import answer_old_names

if TYPE_CHECKING:
    from egowm import (
        actions,
        backbones,
        conditioning,
        data,
        encoders,
        latent,
        network,
        planning,
        pretraining,
        scs,
        training,
        worlds,
    )
    from egowm.actions.spec import ActionSpec
    from egowm.clip import Clip
    from egowm.dynamics import Dynamics
    from egowm.encoder import Encoder
    from egowm.planning.space import Space
    from egowm.sampling import Rollout, Sampling
    from egowm.session import Session
    from egowm.student import Student
    from egowm.world_model import WorldModel

__all__ = [
    "ActionSpec",
    "Clip",
    "Dynamics",
    "Encoder",
    "Rollout",
    "Sampling",
    "Session",
    "Space",
    "Student",
    "WorldModel",
    "__version__",
    "actions",
    "backbones",
    "conditioning",
    "data",
    "encoders",
    "latent",
    "network",
    "planning",
    "pretraining",
    "scs",
    "training",
    "worlds",
]
__version__ = "0.1.0"

__getattr__, __dir__ = face(__name__)
answer_old_names()
