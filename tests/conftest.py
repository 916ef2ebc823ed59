"""What every test gets: no network, one seed, threads that do not spin, and the shared recordings.

Sockets are closed except to this machine by pytest-socket (`--allow-hosts` in pyproject.toml).
"""

import os
import random
import sys
from pathlib import Path

# Read when torch and huggingface_hub are imported, so set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("egowm", deadline=None, derandomize=True)
settings.load_profile("egowm")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _seed() -> None:
    """One seed per test; torch only where something has imported it (its own start is fixed)."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code under test that uses the global generator
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; the test is skipped, with the reason, where it is missing."""
    shared = Path(os.environ.get("EGOWM_SHARED", ROOT.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"no recordings in {shared / 'data'} (EGOWM_SHARED points elsewhere)")
    return shared / "data"
