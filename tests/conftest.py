"""What every test gets: no network, one seed, threads that do not spin, the shared recordings, and
a pipeline and a world model so small that a rollout takes a fraction of a second.

Sockets are closed except to this machine by pytest-socket (`--allow-hosts` in pyproject.toml).
"""

import copy
import json
import multiprocessing
import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

# Read when torch and huggingface_hub are imported, so set before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks are tiny, and a worker has a core

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
if sys.dont_write_bytecode:  # or each fresh process would compile torch and all else anew
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(ROOT / ".pytest_cache/compiled")
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": sys.pycache_prefix}

multiprocessing.get_start_method()  # settles it: torchrl would make all loaders spawn
settings.register_profile("egowm", deadline=None, derandomize=True)
settings.load_profile("egowm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that the workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """One seed per test; torch only where something has imported it (its own start is fixed)."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code under test that uses the global generator
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine with internet: nothing says "offline", and no code may reach for it."""
    import huggingface_hub.constants

    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    reached = []

    def reach(address, *rest, **options):
        reached.append(address)
        raise OSError(f"{address} was asked")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, reach)
    yield
    assert not reached


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; the test is skipped, with the reason, where it is missing."""
    shared = Path(os.environ.get("EGOWM_SHARED", ROOT.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"no recordings in {shared / 'data'} (EGOWM_SHARED points elsewhere)")
    return shared / "data"


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_tiny_prior`."""
    return write_tiny_prior(tmp_path_factory.mktemp("tiny_prior"))


def write_tiny_prior(folder: Path) -> Path:
    """A `StableVideoDiffusionPipeline` folder of the real classes, for 16x16 frames, random.

    Its weights are amplified until noise level, image, ids and embedding all show in the output: a
    random network's outputs are near zero, and equality tests would pass without testing anything.
    """
    import torch
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    source = ROOT / "priors/rooms-svd"
    unet = UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 32, 64),
        num_attention_heads=(2, 2, 4),
        layers_per_block=1,
        down_block_types=(
            "DownBlockSpatioTemporal",
            "CrossAttnDownBlockSpatioTemporal",
            "DownBlockSpatioTemporal",
        ),
        up_block_types=(
            "UpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
            "UpBlockSpatioTemporal",
        ),
        cross_attention_dim=64,
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
        sample_size=8,
        num_frames=4,
    )
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        force_upcast=False,
        scaling_factor=0.5,
    )
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            projection_dim=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
        )
    )
    for part, module in (("unet", unet), ("vae", vae), ("image_encoder", encoder)):
        _amplify(module)
        module.save_pretrained(folder / part)
    for part in ("scheduler", "feature_extractor"):
        shutil.copytree(source / part, folder / part)
    index = json.loads((source / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderKLTemporalDecoder"]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _amplify(module) -> None:
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.data *= 20.0 if "time_emb_proj" in name else 1.6


@pytest.fixture(scope="session")
def spec():
    """Three dimensions as a wheeled robot has them, with ranges."""
    from egowm.actions import ActionSpec

    names, units, high = ("dx", "dy", "dyaw"), ("m", "m", "rad"), (0.3, 0.1, 0.1)
    low = tuple(-value for value in high)
    return ActionSpec(names, units, frame="body", kind="se2", rate_hz=4.0, low=low, high=high)


@pytest.fixture(scope="session")
def _world_model_master(tiny_prior: Path, spec):
    import torch

    from egowm.backbones import SVD
    from egowm.world_model import WorldModel

    torch.manual_seed(0)
    model = WorldModel(SVD(str(tiny_prior)), steps=3, chunk=4, spec=spec)
    model.configure_model()
    return model.eval()


@pytest.fixture
def world_model(_world_model_master):
    """A fresh world model on the tiny prior: chunks of 4 frames, 3 steps, an embedding at zero."""
    return copy.deepcopy(_world_model_master)


@pytest.fixture
def obedient(world_model):
    """The same with an action embedding that is not zero, so actions show in the output."""
    import torch

    torch.manual_seed(1)
    torch.nn.init.normal_(world_model.action_embedding.linear_2.weight, std=0.3)
    return world_model


@pytest.fixture
def fitted(obedient):
    """The same with a network that is no longer the base's."""
    import torch

    with torch.no_grad():
        for parameter in obedient.backbone.network.parameters():
            parameter.mul_(1.02)
    return obedient


@pytest.fixture
def recipe(tiny_prior, tmp_path) -> Path:
    """See `write_recipe`."""
    return write_recipe(tmp_path, tiny_prior)


def write_recipe(folder: Path, prior: Path) -> Path:
    """A recipe of a few steps on two rooms: 5 batches in an epoch."""
    import yaml

    window = {"context": 1, "horizon": 3, "height": 16, "width": 16}
    text = {
        "seed_everything": 0,
        "model": {
            "class_path": "egowm.WorldModel",
            "init_args": {
                "backbone": {
                    "class_path": "egowm.backbones.SVD",
                    "init_args": {"pretrained": str(prior)},
                },
                "steps": 2,
                "warmup": 1,
            },
        },
        "data": {
            "class_path": "egowm.data.Rooms",
            "init_args": {
                "root": str(folder / "rooms"),
                "window": window,
                "batch_size": 2,
                "episodes_train": 2,
                "episodes_val": 1,
                "episodes_test": 1,
                "num_frames": 8,
            },
        },
        "trainer": {
            "default_root_dir": str(folder / "run"),
            "accelerator": "cpu",
            "max_steps": 2,
            "val_check_interval": 100,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(text))
    return path
