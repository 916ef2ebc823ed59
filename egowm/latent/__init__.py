"""World models that imagine in latent spaces, and what straightens the paths in them.

They answer `egowm.Dynamics` as `WorldModel` does, so planners, scores and the guard take them.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.latent.latent_model import LatentModel
    from egowm.latent.opened import from_pretrained
    from egowm.latent.rssm import RSSM, Signals, balanced_kl
    from egowm.latent.straightening import (
        covariance_loss,
        extrapolate,
        invariance_loss,
        step_cosines,
        straightening_loss,
        straightness,
        straightness_gap,
        variance_loss,
    )

__all__ = [
    "RSSM",
    "LatentModel",
    "Signals",
    "balanced_kl",
    "covariance_loss",
    "extrapolate",
    "from_pretrained",
    "invariance_loss",
    "step_cosines",
    "straightening_loss",
    "straightness",
    "straightness_gap",
    "variance_loss",
]

__getattr__, __dir__ = face(__name__)
