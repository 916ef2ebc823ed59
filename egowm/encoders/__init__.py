"""Image encoders that learn from the frames of any clips, and probes of what their features say.

Each trainer is a LightningModule with a recipe; `egowm export` writes its encoder as a folder that
`egowm.Encoder` and transformers open.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.encoders.attention_maps import (
        Alignment,
        alignment,
        same_place,
        structure_agreement,
    )
    from egowm.encoders.dinov2 import DINOv2
    from egowm.encoders.ijepa import IJEPA
    from egowm.encoders.moog import MooG
    from egowm.encoders.moog_readouts import (
        DenseReadout,
        Followed,
        PointReadout,
        fit_dense,
        fit_points,
    )
    from egowm.encoders.pairs import jaccard
    from egowm.encoders.pictures import Completed, completions, patch_colours, token_maps
    from egowm.encoders.probes import (
        Parts,
        Probed,
        attention_probe,
        linear_probe,
        nearest_neighbours,
        spread,
    )
    from egowm.encoders.single_life import SingleLife

__all__ = [
    "IJEPA",
    "Alignment",
    "Completed",
    "DINOv2",
    "DenseReadout",
    "Followed",
    "MooG",
    "Parts",
    "PointReadout",
    "Probed",
    "SingleLife",
    "alignment",
    "attention_probe",
    "completions",
    "fit_dense",
    "fit_points",
    "jaccard",
    "linear_probe",
    "nearest_neighbours",
    "patch_colours",
    "same_place",
    "spread",
    "structure_agreement",
    "token_maps",
]

__getattr__, __dir__ = face(__name__)
