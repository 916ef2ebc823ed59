"""LPIPS, DreamSim and feature drift: distances between features of networks, 0 for equal frames."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from egowm.encoder import Encoder, patch_distance
from egowm.evaluation.metrics.metric import ClipMetric, Column, Sample, Unavailable
from egowm.evaluation.metrics.weights import PAGE, described, file_of, library, tensors
from egowm.pixels import to_model, to_unit

ALEXNET = "alexnet-owt-7be5be79.pth"
DREAMSIM = (  # of the ensemble, as its checkpoint archive unpacks, and DINO's code and weights
    "dino_vitb16_pretrain.pth",
    "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar",
)
DREAMSIM_FOLDERS = ("ensemble_lora", "facebookresearch_dino_main")
DINO = "checkpoints/dino_vitbase16_pretrain.pth"


class LPIPS(ClipMetric):
    """Learned perceptual distance of each frame, AlexNet, version 0.1 (Zhang et al. 2018).

    The linear layers come with the package `lpips`; AlexNet's weights are torchvision's.
    """

    columns: ClassVar = (
        Column(
            "lpips",
            "LPIPS",
            "Learned perceptual distance of each frame (AlexNet, v0.1), 0 for equal frames",
            3,
            False,
        ),
    )

    least_side: ClassVar = 32  # AlexNet's layers leave nothing of fewer

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        package = library("lpips", "lpips")
        self.path = file_of(weights, ALEXNET)
        self.device, self.network = device, package.LPIPS(net="alex", pnet_rand=True, verbose=False)
        known = tensors(self.path)
        names = self.network.net.state_dict()  # slice2.3.weight is the features.3.weight
        try:
            held = {name: known[f"features.{name.partition('.')[2]}"] for name in names}
            self.network.net.load_state_dict(held)
        except (KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"{self.path}: expected torchvision's AlexNet ({error}).") from error
        self.network.to(device).eval().requires_grad_(False)

    @property
    def settings(self) -> dict[str, Any]:
        return described(self.path)

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        pred, truth = (
            to_model(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())).to(self.device)
            for frames in (sample.pred, sample.truth)
        )
        with torch.no_grad():
            found = torch.cat([self.network(*pair) for pair in _batches(pred, truth)])
        return {"lpips": found.double().cpu().numpy().reshape(-1)}


class DreamSim(ClipMetric):
    """DreamSim's distance of each frame, the ensemble (Fu et al. 2023).

    Its package runs the code of DINO's repository, which lies beside the weights.
    """

    columns: ClassVar = (
        Column(
            "dreamsim",
            "DreamSim",
            "DreamSim's distance of each frame (ensemble), 0 for equal frames",
            3,
            False,
        ),
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        package = library("dreamsim", "dreamsim")
        self.paths = [file_of(weights, f"dreamsim/{name}") for name in (*DREAMSIM, DINO)]
        for name in DREAMSIM_FOLDERS:
            folder = file_of(weights, f"dreamsim/{name}").parent
        for path in self.paths:
            tensors(path)  # the package loads some of them without this check
        with _hub_restored():
            self.model, self.prepare = package.dreamsim(
                pretrained=True, cache_dir=str(folder), dreamsim_type="ensemble", device=device
            )
        self.device = device

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for path in self.paths for name, value in described(path).items()}

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        from PIL import Image

        pred, truth = (
            torch.cat([self.prepare(Image.fromarray(frame)) for frame in frames]).to(self.device)
            for frames in (sample.pred, sample.truth)
        )  # (T, 3, 224, 224) in [0, 1]
        with torch.no_grad():
            found = torch.cat([self.model(*pair) for pair in _batches(pred, truth)])
        return {"dreamsim": found.double().cpu().numpy().reshape(-1)}


class FeatureDrift(ClipMetric):
    """How far an image encoder's patches of each frame are from those of the true frame, as the
    planning cost `features.encoder` compares them.

    Args:
        encoder: Folder of an encoder in transformers' format, that of `--encoder`.
        device: On which it encodes.

    Raises:
        Unavailable: No folder is given.
        FileNotFoundError: A file of it that is missing.
        ValueError: A folder of another kind of model, or a damaged file.
    """

    columns: ClassVar = (
        Column(
            "feature_drift",
            "feature drift",
            "1 minus the mean cosine between an image encoder's patches of the imagined and of the "
            "true frame, 0 for equal frames",
            3,
            False,
        ),
    )

    def __init__(self, encoder: Path | None = None, device: str = "cpu") -> None:
        super().__init__()
        if encoder is None:
            raise Unavailable(f"needs an image encoder: give its folder by --encoder ({PAGE})")
        self.folder, self.encoder = encoder, Encoder.from_pretrained(encoder).to(device)
        self.device = device

    @property
    def settings(self) -> dict[str, Any]:
        read = sorted(p for p in self.folder.iterdir() if p.suffix in (".json", ".safetensors"))
        return {name: value for path in read for name, value in described(path).items()}

    @torch.no_grad()
    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        pred, truth = (
            to_unit(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())).to(self.device)
            for frames in (sample.pred, sample.truth)
        )
        pairs = ([self.encoder.encode(x).patches for x in p] for p in _batches(pred, truth))
        found = torch.cat([patch_distance(*pair) for pair in pairs])
        return {"feature_drift": found.clamp(min=0).double().cpu().numpy()}  # of rounding


def _batches(a: torch.Tensor, b: torch.Tensor, size: int = 32) -> Iterator[Any]:
    return zip(a.split(size), b.split(size), strict=True)


@contextmanager
def _hub_restored() -> Iterator[None]:
    """DreamSim sets torch.hub's folder for the whole process."""
    before = torch.hub.get_dir()
    try:
        yield
    finally:
        torch.hub.set_dir(before)
