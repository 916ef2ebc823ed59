"""The models whose latency is measured, at the papers' sizes or at those of the rooms."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import ROOT
from benchmarks.speed import training_row
from benchmarks.speed.latency_cases import Case, Family, Scale
from benchmarks.speed.rollout import SPEC, generator_of
from egowm.backbones import SVD, CDiT, Cosmos
from egowm.backbones.codec import Codec
from egowm.backbones.codec_wrappers import Remembered
from egowm.world_model import WorldModel

KEPT = 64  # encoded pictures
IMAGE_VAE = {  # Stable Diffusion's, which NWM takes: a latent for eight pixels along each side
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}


class Models:
    """One of each family, made with random weights when it is first asked for.

    Args:
        folder: Where pipelines are written.
    """

    def __init__(self, scale: Scale, device: str, folder: Path, seed: int) -> None:
        self.scale, self.device, self.folder, self.seed = scale, device, folder, seed
        self.made: dict[tuple[Family, bool], tuple[WorldModel, Codec, Codec]] = {}

    def model(self, case: Case) -> WorldModel:
        """As the case has it."""
        key = case.family, case.compiled
        if key not in self.made:
            made = self._make(*key)
            self.made[key] = made, made.backbone.codec, Remembered(made.backbone.codec, KEPT)
        model, plain, keeping = self.made[key]
        model.chunk, model.backbone.codec = case.chunk, keeping if case.kept else plain
        if case.family == "svd":  # a context with fresh noise is encoded every time
            model.backbone.noise_strength = 0.0 if case.kept else 0.1
        return model

    @torch.no_grad()
    def imagine(self, case: Case, frames: int) -> Tensor:
        """A video (1, T, 3, H, W), from a made-up context."""
        model, source = self.model(case), generator_of(self.seed)
        shape = (1, model.backbone.context, 3, *case.size)
        context = torch.randint(0, 256, shape, generator=source).byte()
        actions = SPEC.denormalise(torch.rand(1, frames, SPEC.width, generator=source) * 2 - 1)
        return model.rollout(context, actions, case.how, generator=source).frames

    def parameters(self, case: Case) -> int:
        """Weights of the network."""
        return sum(weight.numel() for weight in self.model(case).backbone.network.parameters())

    def _make(self, family: Family, compiled: bool) -> WorldModel:
        folder = pipeline(family, self.scale, self.folder)
        size: Any = "XL" if self.scale == "paper" else "XS"
        backbone = {
            "cdit": lambda: CDiT(folder, size=size),
            "svd": lambda: SVD(folder),
            "cosmos": lambda: Cosmos(folder),
        }[family]()
        model = WorldModel(backbone, spec=SPEC, compile="inductor" if compiled else None)
        torch.manual_seed(self.seed)
        with training_row.random_weights(self.device):
            model.configure_model()
        return model.eval().to(self.device)


def pipeline(family: Family, scale: Scale, folder: Path) -> str:
    """The folder of a pipeline, of which the sizes count."""
    if scale == "paper" and family != "cdit":
        return training_row.pipeline(family, folder)
    target = folder / family
    if target.is_dir():
        return str(target)
    if scale == "paper":
        _write(target / "vae/config.json", IMAGE_VAE)
        return str(target)
    prior = "rooms-cosmos" if family == "cosmos" else "rooms-svd"
    shutil.copytree(ROOT / "priors" / prior, target)
    if family == "cosmos":  # whose table of positions ends at 16 latent frames
        path = target / "transformer/config.json"
        _write(path, json.loads(path.read_text()) | {"max_size": [32, 32, 32]})
    return str(target)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
