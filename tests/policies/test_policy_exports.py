"""Exports of policies and latent models that are incomplete or hostile: one line, little memory."""

import json

import pytest
import torch
from torch.overrides import TorchFunctionMode

from egowm.latent import RSSM, LatentModel
from egowm.latent import from_pretrained as open_world
from egowm.policies import BehaviourCloning, Dreamer
from egowm.policies import from_pretrained as open_policy
from tests.policies.conftest import SMALL, TOY

KINDS = {
    "BehaviourCloning": (BehaviourCloning, {"depth": 8, "units": 8, "size": 8}, "units"),
    "Dreamer": (Dreamer, SMALL, "units"),
    "RSSM": (RSSM, SMALL, "deterministic"),
    "LatentModel": (LatentModel, {"depth": 8, "hidden": 16, "size": 16}, "hidden"),
}


class Allocated(TorchFunctionMode):
    """Counts the numbers of which `torch.empty` took memory."""

    numbers = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func is torch.empty:
            self.numbers += made.numel()
        return made


@pytest.fixture(params=KINDS)
def export(request, tmp_path):
    """A folder, what opens it, its file, and an argument that decides how large it is."""
    kind, small, wide = KINDS[request.param]
    model = kind(**small, spec=TOY)
    model.configure_model()
    model.save_pretrained(tmp_path / "export")
    opens = open_policy if hasattr(model, "act") else open_world
    return tmp_path / "export", opens, tmp_path / "export" / model.export_file.name, wide


def test_missing_weights_are_missing_and_not_damaged(export):
    folder, opens, _, _ = export
    (folder / "weights.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"weights\.safetensors is missing: copy the export"
    ):
        opens(folder)


@pytest.mark.parametrize("size", [30_000, 10**6, 10**9])
def test_hostile_settings_are_refused_before_they_take_memory(export, size):
    folder, opens, file, wide = export
    record = json.loads(file.read_text())
    record["arguments"][wide] = size
    file.write_text(json.dumps(record))
    with Allocated() as allocated, pytest.raises(ValueError, match=r"ask for more than [0-9,]+ w"):
        opens(folder)
    assert allocated.numbers < 20_000_000
