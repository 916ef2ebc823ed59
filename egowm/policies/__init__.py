"""Policies: networks that act from what is seen, learned from recordings or inside world models.

Each is a LightningModule with a recipe; `egowm plan --policy EXPORT` drives them in the rooms.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.policies.agent import proposals
    from egowm.policies.behaviour_cloning import BehaviourCloning
    from egowm.policies.dreamer import Dreamer
    from egowm.policies.live_robot import LiveRobot
    from egowm.policies.opened import from_pretrained
    from egowm.policies.policy import Policy
    from egowm.policies.policy_export import PolicyExport
    from egowm.policies.reinforce import Reinforce
    from egowm.policies.replay import Experience, Replay
    from egowm.policies.replay_buffer import ReplayEpisode, ReplayWriter
    from egowm.policies.returns import lambda_returns

__all__ = [
    "BehaviourCloning",
    "Dreamer",
    "Experience",
    "LiveRobot",
    "Policy",
    "PolicyExport",
    "Reinforce",
    "Replay",
    "ReplayEpisode",
    "ReplayWriter",
    "from_pretrained",
    "lambda_returns",
    "proposals",
]

__getattr__, __dir__ = face(__name__)
