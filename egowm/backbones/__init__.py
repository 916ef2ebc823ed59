"""Pretrained video diffusion pipelines behind one small interface; one family per file."""

from typing import TYPE_CHECKING

from egowm.lazy import face

if TYPE_CHECKING:
    from egowm.backbones.base import Backbone, Condition
    from egowm.backbones.cdit import CDiT
    from egowm.backbones.codec import Codec
    from egowm.backbones.cosmos import Cosmos
    from egowm.backbones.cosmos3.model import Cosmos3
    from egowm.backbones.ltx import LTX
    from egowm.backbones.sana_wm import SanaWM
    from egowm.backbones.svd import SVD
    from egowm.backbones.video_transformer import VideoTransformer
    from egowm.backbones.wan import Wan

__all__ = [
    "LTX",
    "SVD",
    "Backbone",
    "CDiT",
    "Codec",
    "Condition",
    "Cosmos",
    "Cosmos3",
    "SanaWM",
    "VideoTransformer",
    "Wan",
]

__getattr__, __dir__ = face(__name__)
