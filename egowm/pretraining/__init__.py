"""How the small shipped pipelines were made: autoencoders and video priors from random weights."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.pretraining.autoencoder import Autoencoder
    from egowm.pretraining.prior import VideoPrior
    from egowm.pretraining.starts import copy_of_context

__all__ = ["Autoencoder", "VideoPrior", "copy_of_context"]

__getattr__, __dir__ = face(__name__)
