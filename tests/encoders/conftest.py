"""A small I-JEPA, a batch of clips whose frames all differ, and a recipe of a few steps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml

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


@pytest.fixture
def recipe_of(tmp_path) -> Callable[..., str]:
    """Writes a recipe of a few steps in a few rooms, for an encoder of a class and its options."""

    def write(kind: str, options: dict[str, Any], size: int, horizon: int = 1) -> str:
        rooms = {
            "root": str(tmp_path / "rooms"),
            "window": {"context": 1, "horizon": horizon, "height": size, "width": size},
            "batch_size": 2,
            "episodes_train": 2,
            "episodes_val": 1,
            "episodes_test": 3,
            "num_frames": 8,
        }
        trainer = {
            "default_root_dir": str(tmp_path / "run"),
            "accelerator": "cpu",
            "max_steps": 4,
            "limit_val_batches": 1,
            "enable_progress_bar": False,
        }
        model = {"class_path": f"egowm.encoders.{kind}", "init_args": options | {"warmup": 1}}
        tree = {
            "seed_everything": 1,
            "model": model,
            "data": {"class_path": "egowm.data.Rooms", "init_args": rooms},
            "trainer": trainer,
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
        return str(tmp_path / "recipe.yaml")

    return write
