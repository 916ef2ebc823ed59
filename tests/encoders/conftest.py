"""A small I-JEPA, and a batch of clips whose frames all differ."""

import pytest
import torch

from egowm.clip import Clip
from egowm.encoders import IJEPA

SIZE = 24
SMALL = {"size": SIZE, "patch": 4, "width": 16, "layers": 2, "heads": 2}
SMALL |= {"predictor_width": 8, "predictor_layers": 1}


def ijepa(**options) -> IJEPA:
    torch.manual_seed(0)
    model = IJEPA(**(SMALL | options))
    model.configure_model()
    return model


@pytest.fixture
def frames() -> torch.Tensor:
    """(6, 3, 24, 24) in [0, 1]."""
    return torch.rand(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def clip(frames) -> Clip:
    """Three clips of two frames, without actions."""
    pictures = (frames * 255).byte().unflatten(0, (3, 2))
    rest = torch.zeros(3, 1, 0), torch.zeros(3, 0, 0), torch.zeros(3, 0)
    return Clip(pictures, *rest, [""] * 3, ["test"] * 3, ["a", "b", "c"])
