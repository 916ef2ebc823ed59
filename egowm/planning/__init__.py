"""Planning with anything that has a cost; with world models through `goal_cost`.

Planners are functions of a cost `(N, T, A) -> (N,)` and know of nothing else. `WorldModelEnv` needs
gymnasium (`pip install 'egowm[planning]'`) and is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from egowm.planning.bounds import Bounds, bounds_of
from egowm.planning.cem import cem
from egowm.planning.goal import GoalCost, goal_cost
from egowm.planning.gradient import gradient
from egowm.planning.icem import icem
from egowm.planning.imagined import ImaginedWorlds
from egowm.planning.mpc import MPC
from egowm.planning.mppi import mppi
from egowm.planning.search import Cost, Plan, shifted
from egowm.planning.shooting import random_shooting
from egowm.planning.straight_line import straight_line

if TYPE_CHECKING:
    from egowm.planning.env import WorldModelEnv

__all__ = [
    "MPC",
    "Bounds",
    "Cost",
    "GoalCost",
    "ImaginedWorlds",
    "Plan",
    "WorldModelEnv",
    "bounds_of",
    "cem",
    "goal_cost",
    "gradient",
    "icem",
    "mppi",
    "random_shooting",
    "shifted",
    "straight_line",
]


def __getattr__(name: str) -> Any:
    if name != "WorldModelEnv":
        raise AttributeError(f"module 'egowm.planning' has no attribute '{name}'")
    return import_module("egowm.planning.env").WorldModelEnv
