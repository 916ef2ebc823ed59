"""Image encoders that learn from the frames of any clips, and probes of what their features say.

Each trainer is a LightningModule with a recipe; `egowm export` writes its encoder as a folder that
`egowm.Encoder` and transformers open.
"""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.encoders.base import spread
    from egowm.encoders.dinov2 import DINOv2
    from egowm.encoders.ijepa import IJEPA
    from egowm.encoders.probes import (
        Parts,
        Probed,
        attention_probe,
        linear_probe,
        nearest_neighbours,
    )

__all__ = [
    "IJEPA",
    "DINOv2",
    "Parts",
    "Probed",
    "attention_probe",
    "linear_probe",
    "nearest_neighbours",
    "spread",
]

__getattr__, __dir__ = face(__name__)
