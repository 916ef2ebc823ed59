"""Rooms so small that they are drawn in a moment, once a session, and recipes on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from egowm.data import Rooms, Window

OPTIONS = {"batch_size": 2, "episodes_train": 2, "episodes_val": 1, "episodes_test": 3}
NUM_FRAMES = 7


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    """Three test rooms of 7 frames, 16x16, drawn."""
    root = tmp_path_factory.mktemp("rooms")
    window = Window(context=1, horizon=6, height=16, width=16)
    data = Rooms(str(root), window, num_frames=NUM_FRAMES, **OPTIONS)
    data.prepare_data()
    return data


@pytest.fixture
def write_recipe(rooms: Rooms, tiny_prior: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe of the tiny prior on these rooms; `window` and `options` change the data."""

    def write(window: dict[str, int] | None = None, **options: Any) -> Path:
        size = {"context": 1, "horizon": 3, "height": 16, "width": 16}
        data = {"root": rooms.root, "num_frames": NUM_FRAMES, **OPTIONS}
        backbone = {
            "class_path": "egowm.backbones.SVD",
            "init_args": {"pretrained": str(tiny_prior)},
        }
        text = {
            "seed_everything": 0,
            "model": {
                "class_path": "egowm.WorldModel",
                "init_args": {"backbone": backbone, "steps": 2, "warmup": 1},
            },
            "data": {
                "class_path": "egowm.data.Rooms",
                "init_args": data | {"window": size | (window or {})} | options,
            },
            "trainer": {
                "default_root_dir": str(tmp_path / "run"),
                "accelerator": "cpu",
                "max_steps": 1,
                "limit_val_batches": 0,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "logger": False,
            },
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(text))
        return path

    return write
