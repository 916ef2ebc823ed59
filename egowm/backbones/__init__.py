"""Pretrained video diffusion pipelines behind one small interface; one family per file."""

from egowm.backbones.base import Backbone, Condition
from egowm.backbones.cosmos import Cosmos
from egowm.backbones.cosmos3 import Cosmos3
from egowm.backbones.ltx import LTX
from egowm.backbones.svd import SVD
from egowm.backbones.wan import Wan

__all__ = ["LTX", "SVD", "Backbone", "Condition", "Cosmos", "Cosmos3", "Wan"]
