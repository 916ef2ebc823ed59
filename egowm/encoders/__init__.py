"""Image encoders that learn from the frames of any clips, and probes of what their features say.

Each trainer is a LightningModule with a recipe; `egowm export` writes its encoder as a folder that
`egowm.Encoder` and transformers open.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.encoders.ijepa import IJEPA
    from egowm.encoders.moog import MooG
    from egowm.encoders.moog_readouts import (
        DenseReadout,
        Followed,
        PointReadout,
        fit_dense,
        fit_points,
    )
    from egowm.encoders.probes import (
        Parts,
        Probed,
        attention_probe,
        linear_probe,
        nearest_neighbours,
        spread,
    )

__all__ = [
    "IJEPA",
    "DenseReadout",
    "Followed",
    "MooG",
    "Parts",
    "PointReadout",
    "Probed",
    "attention_probe",
    "fit_dense",
    "fit_points",
    "linear_probe",
    "nearest_neighbours",
    "spread",
]

__getattr__, __dir__ = face(__name__)
