"""Planning with anything that has a cost; with world models through `goal_cost`.

Planners are functions of a cost `(N, T, A) -> (N,)` and know of nothing else.
"""

from egowm.planning.bounds import Bounds, bounds_of
from egowm.planning.cem import cem
from egowm.planning.gradient import gradient
from egowm.planning.icem import icem
from egowm.planning.mppi import mppi
from egowm.planning.search import Cost, Plan, shifted
from egowm.planning.shooting import random_shooting
from egowm.planning.straight_line import straight_line

__all__ = [
    "Bounds",
    "Cost",
    "Plan",
    "bounds_of",
    "cem",
    "gradient",
    "icem",
    "mppi",
    "random_shooting",
    "shifted",
    "straight_line",
]
