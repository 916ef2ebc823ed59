"""Structure without masks: whether imagined frames are looked up where the true ones are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from egowm.encoder import DECODER_WEIGHTS
from egowm.encoders.attention_maps import structure_agreement
from egowm.encoders.single_life import SingleLife
from egowm.evaluation.metrics.metric import ClipMetric, Column, Sample, Unavailable
from egowm.evaluation.metrics.weights import PAGE, described
from egowm.pixels import to_unit

K = 5  # patches that are compared, as `egowm align` does
BATCH = 32


class AttentionStructure(ClipMetric):
    """How far a SingleLife looks up the patches of imagined frames in the shared frame where it
    looks up those of the true ones (`structure_agreement`, centred).

    Maps are centred on their mean over the clip's true frames: what is left is what changes from
    frame to frame. A clip of a single frame has none, and no value.

    Args:
        encoder: Export of a SingleLife with its decoder, that of `--encoder`.
        device: On which it runs.

    Raises:
        Unavailable: No folder is given, or one of another encoder, which has no decoder.
        FileNotFoundError: A file of it that is missing.
        ValueError: A damaged file.
    """

    columns: ClassVar = (
        Column(
            "attention_structure",
            "attention",
            "Share of the patches of the shared frame that a SingleLife looks at most from the "
            "imagined frame as from the true one, beyond what it looks at throughout the clip; 1 "
            "for equal frames",
            3,
            True,
        ),
    )

    def __init__(self, encoder: Path | None = None, device: str = "cpu") -> None:
        if encoder is None:
            raise Unavailable(f"needs a SingleLife: give its export by --encoder ({PAGE})")
        if encoder.is_dir() and not (encoder / DECODER_WEIGHTS).is_file():
            raise Unavailable(f"needs a SingleLife with its decoder, {encoder} has none ({PAGE})")
        super().__init__()
        self.folder, self.device = encoder, device
        self.model = SingleLife.from_pretrained(encoder).to(device)

    @property
    def settings(self) -> dict[str, Any]:
        read = sorted(p for p in self.folder.iterdir() if p.suffix in (".json", ".safetensors"))
        return {name: value for path in read for name, value in described(path).items()}

    def clip(self, sample: Sample) -> Mapping[str, np.ndarray]:
        frames = (sample.context[None], sample.pred, sample.truth)
        shared, *others = (self._features(x) for x in frames)
        pred, truth = (self._maps(shared, features) for features in others)
        found = structure_agreement(pred, truth, min(K, pred.shape[-1]))
        return {"attention_structure": found.centred.numpy()}

    @torch.no_grad()
    def _features(self, frames: np.ndarray) -> Tensor:
        """(T, N, width), of frames that are resized as an `Encoder` does it."""
        size = (self.model.size, self.model.size)
        made = to_unit(torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()))
        if made.shape[-2:] != size:
            made = interpolate(made, size, mode="bicubic", antialias=True, align_corners=False)
        parts = (self.model.features(part.to(self.device)) for part in made.split(BATCH))
        return torch.cat(list(parts))

    def _maps(self, shared: Tensor, features: Tensor) -> Tensor:
        return torch.cat([self.model.looks(shared, part).cpu() for part in features.split(BATCH)])
