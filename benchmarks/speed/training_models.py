"""Pipelines of published sizes, as configurations: their weights are drawn, none are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from egowm.loading import untrained
from egowm.training.published import write_sizes


def write_svd(folder: Path) -> Path:
    """SVD XT: 1.5 B parameters in the UNet, 0.1 B in the VAE, 0.6 B in the image encoder."""
    return write_sizes("stabilityai/stable-video-diffusion-img2vid-xt", folder)


def write_cosmos(folder: Path) -> Path:
    """Cosmos Predict2 2B Video2World, with a text "" of 512 tokens in place of its encoder."""
    return write_sizes("nvidia/Cosmos-Predict2-2B-Video2World", folder)


@contextmanager
def random_weights(device: str) -> Iterator[None]:
    """Inside, `from_pretrained` of diffusers and transformers draws weights, on `device`."""
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

    def drawn(cls: Any, folder: Any, **options: Any) -> Any:
        with torch.device(device):
            return untrained(cls, Path(folder))

    with (
        patch("egowm.loading.variant_of", lambda folder, stem: ""),
        patch.object(ModelMixin, "from_pretrained", classmethod(drawn)),
        patch.object(PreTrainedModel, "from_pretrained", classmethod(drawn)),
    ):
        yield
