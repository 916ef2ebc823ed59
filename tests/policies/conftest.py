"""A world of two frames, dark and bright: bright follows actions above 0, and is worth a reward."""

from pathlib import Path

import numpy as np
import pytest

from egowm.actions import ActionSpec
from egowm.policies import Dreamer, ReplayEpisode, ReplayWriter

SMALL = {"deterministic": 16, "categoricals": 4, "classes": 4, "depth": 4, "units": 24, "size": 8}
RATES = {"learning_rate": 5e-3, "actor_rate": 1e-2, "critic_rate": 1e-2}
TOY = ActionSpec(("push",), ("m",), "body", "difference", 4.0, (-2.0,), (2.0,))


def fill(root: Path, episodes: int = 12, steps: int = 12) -> None:
    """Random pushes."""
    rng, writer = np.random.default_rng(0), ReplayWriter(root, (8, 8), TOY)
    for _ in range(episodes):
        actions = rng.uniform(-2, 2, (steps, 1)).astype(np.float32)
        bright = np.concatenate([[0.0], actions[:, 0] > 0])
        frames = np.broadcast_to(bright[:, None, None, None], (steps + 1, 8, 8, 3)) * 200
        writer.add(ReplayEpisode(frames.astype(np.uint8), actions, bright[1:], np.ones(steps)))


@pytest.fixture
def toy_replay(tmp_path) -> Path:
    fill(tmp_path / "replay")
    return tmp_path / "replay"


def dreamer(**options) -> Dreamer:
    model = Dreamer(**(SMALL | RATES | options), spec=TOY)
    model.configure_model()
    return model
