"""Exports of latent models: weights, arguments and the actions' meaning, in export's files."""

import inspect
import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from egowm.actions.spec import SpecRecord
from egowm.backbones.arguments import check_arguments
from egowm.checks import checked
from egowm.checksums import sum_of
from egowm.dynamics import Dynamics
from egowm.export import EXPECTED, EXPORT, FORMAT, WEIGHTS, find, spec_table
from egowm.exported_weights import EARLIER, read_weights
from egowm.files import check_folder, filled
from egowm.latent.base import LatentDynamics
from egowm.latent.latent_model import LatentModel
from egowm.latent.rssm import RSSM
from egowm.loading import weight_files
from egowm.network.finite import check_finite, check_rounded
from egowm.readable import undamaged
from egowm.sizes import no_larger_than, room_for
from egowm.typed_json import read_json
from egowm.world_model import WorldModel

KINDS: dict[str, type[LatentDynamics]] = {"RSSM": RSSM, "LatentModel": LatentModel}
Model = TypeVar("Model", bound=LatentDynamics)


class _Kind(TypedDict):
    format: int
    latent: NotRequired[str]


class _Record(_Kind):
    arguments: dict[str, Any]
    base_sha256: str | None
    weights_sha256: str
    spec: SpecRecord
    specs: dict[str, SpecRecord]


def save(model: LatentDynamics, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write an export, whole or not at all; see `LatentDynamics.save_pretrained`.

    Raises ValueError for a model that is none of egowm's, for weights with NaN or infinity, and for
    those that `dtype` cannot hold.
    """
    check_folder(folder, EXPORT, force=True)
    if KINDS.get(model.name) is not type(model) or not hasattr(model, "built"):
        raise ValueError(
            f"Nothing to save: expected a fitted {' or '.join(KINDS)} of egowm.latent."
        )
    weights = model.trained_weights()
    check_finite(weights, "Nothing was written", f"{EARLIER}.")
    rounded = {k: v.detach().cpu().to(dtype or v.dtype).contiguous() for k, v in weights.items()}
    check_rounded(
        rounded, weights.__getitem__, "Nothing was written", "Export without rounding: no --half."
    )
    names = [n for n in inspect.signature(type(model).__init__).parameters if n != "self"]
    arguments = {name: getattr(model, name) for name in names if name != "spec"}
    record = {"format": FORMAT, "latent": model.name, "arguments": arguments}
    record |= model.about() | model.meaning()
    with filled(folder, EXPORT) as temporary:
        save_file(rounded, temporary / WEIGHTS)
        record |= {"weights_sha256": sum_of(temporary / WEIGHTS)}
        (temporary / "world_model.json").write_text(json.dumps(record, indent=2) + "\n")
        (temporary / "README.md").write_text(_readme(model, folder))


def load(folder: Path, base: str | None, kind: type[Model]) -> Model:
    """Read an export that `save` wrote; its class must be a `kind`.

    Raises FileNotFoundError for a missing file, ValueError for another format or class, damaged
    files, and another base than it was trained on.
    """
    folder = find(folder)
    path = folder / "world_model.json"
    record: _Record = read_json(path, _Record, EXPECTED)
    known, arguments = KINDS.get(record.get("latent", "")), record["arguments"]
    if record["format"] != FORMAT or known is None or not issubclass(known, kind):
        raise ValueError(
            f"{path}: expected an export of {kind.__name__} in format {FORMAT}, got "
            f"{record.get('latent')!r} in format {record['format']}."
        )
    if base is not None:
        if not arguments.get("encoder"):
            raise ValueError(f"{folder} has no frozen encoder: leave the base out.")
        arguments = arguments | {"encoder": base}
    encoder = weight_files(Path(arguments["encoder"])) if arguments.get("encoder") else []
    sizes = room_for([folder / WEIGHTS, *encoder])
    with undamaged(path):
        check_arguments(known, arguments)
        with no_larger_than(*sizes):
            model = known(**arguments)
            model.mean(record)
    if model.about()["base_sha256"] != record["base_sha256"]:
        raise ValueError(f"{folder} belongs to another encoder than {model.base}: pass its base.")
    with undamaged(folder / WEIGHTS):
        weights = read_weights(folder / WEIGHTS, record["weights_sha256"])
    check_finite(weights, str(folder / WEIGHTS), "Export an earlier checkpoint.")
    with undamaged(folder / WEIGHTS):
        _take(model, weights)
    assert isinstance(model, kind)
    return model.eval()


@checked
def from_pretrained(folder: Path | str, base: str | None = None) -> Dynamics:
    """The world model of an export, whatever kind it is of; `WorldModel` where it is diffusion.

    Args:
        folder: The export's folder, or the name of a shipped model ("rooms").
        base: Folder of what it stands on where that moved: a pipeline, or a frozen encoder.

    >>> from_pretrained("rooms").num_context
    1
    """
    path = find(Path(folder)) / "world_model.json"
    if "latent" in read_json(path, _Kind, EXPECTED):
        return load(Path(folder), base, LatentDynamics)  # type: ignore[type-abstract]
    return WorldModel.from_pretrained(folder, base=base)


def _take(model: LatentDynamics, weights: dict[str, Tensor]) -> None:
    """All that `save` wrote, and nothing else."""
    if weights.keys() != (own := model.trained_weights()).keys():
        other = min(weights.keys() ^ own.keys())
        raise ValueError(f"Expected the weights of {model.name}, {other} is missing or unknown")
    model.load_state_dict(weights, strict=False)


def _readme(model: LatentDynamics, folder: Path) -> str:
    spec = model.spec_of(None)
    return f"""# World model in a latent space

`egowm.latent.{model.name}` for frames of {model.size}x{model.size} at {spec.rate_hz:g} Hz.
Actions: {spec.kind}, frame {spec.frame}:

{spec_table(spec)}

```python
import torch

from egowm.latent import {model.name}

model = {model.name}.from_pretrained("{folder.as_posix()}")
context = torch.rand(1, {model.context}, 3, {model.size}, {model.size})
made = model.rollout(context, torch.zeros(1, 8, {spec.width}))  # (N, T, A) in these units
```
"""
