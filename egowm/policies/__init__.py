"""Policies: networks that act from what is seen, learned from recordings or inside world models.

Each is a LightningModule with a recipe; `egowm plan --policy EXPORT` drives them in the rooms.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.policies.behaviour_cloning import BehaviourCloning
    from egowm.policies.opened import from_pretrained
    from egowm.policies.policy import Policy
    from egowm.policies.reinforce import Reinforce


__all__ = [
    "BehaviourCloning",
    "Policy",
    "Reinforce",
    "from_pretrained",
]

__getattr__, __dir__ = face(__name__)
