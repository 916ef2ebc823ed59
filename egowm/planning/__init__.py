"""Planning with anything that has a cost; with world models through `goal_cost`.

Planners are functions of a cost `(N, T, A) -> (N,)` and a `Space` of actions, and of nothing else.
Imported on first use: `WorldModelEnv` needs gymnasium (`pip install 'egowm[planning]'`),
`TorchRLEnv` torchrl (`pip install 'egowm[torchrl]'`).
"""

from typing import TYPE_CHECKING, Any

from egowm.lazy import face
from egowm.planning.cem import cem
from egowm.planning.goal import GoalCost, goal_cost
from egowm.planning.gradient import gradient
from egowm.planning.icem import icem
from egowm.planning.imagined import ImaginedWorlds
from egowm.planning.mpc import MPC
from egowm.planning.mppi import mppi
from egowm.planning.search import Budget, Cost, Plan, shifted
from egowm.planning.sharded import sharded
from egowm.planning.shooting import random_shooting
from egowm.planning.space import Space
from egowm.planning.straight_line import straight_line

if TYPE_CHECKING:
    from egowm.planning.env import WorldModelEnv
    from egowm.planning.torchrl_env import TorchRLEnv

__all__ = [
    "MPC",
    "Budget",
    "Cost",
    "GoalCost",
    "ImaginedWorlds",
    "Plan",
    "Space",
    "TorchRLEnv",
    "WorldModelEnv",
    "cem",
    "goal_cost",
    "gradient",
    "icem",
    "mppi",
    "random_shooting",
    "sharded",
    "shifted",
    "straight_line",
]

_lazy, __dir__ = face(__name__)


def __getattr__(name: str) -> Any:
    if name in ("Bounds", "bounds_of"):
        raise ImportError(
            f"egowm.planning.{name} is gone: Space.of(spec, horizon) has low, high, mean and std."
        )
    return _lazy(name)
