"""Exports of latent models and policies: weights, arguments and the actions' meaning."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypedDict, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from egowm.actions.spec import ActionSpec, SpecRecord
from egowm.backbones.arguments import check_arguments
from egowm.checksums import sum_of
from egowm.export import EXPECTED, EXPORT, FORMAT, WEIGHTS, find, spec_table
from egowm.exported_weights import EARLIER, read_weights
from egowm.files import check_folder, filled
from egowm.limits import load_json
from egowm.loading import weight_files
from egowm.network.finite import check_finite, check_rounded
from egowm.readable import undamaged
from egowm.sizes import no_larger_than, room_for
from egowm.typed_json import read_json

Model = TypeVar("Model", bound="Exported")


class ExportFile(NamedTuple):
    """The file that tells what an export is.

    name: of the file. word: its second key, whose value is the class. title: of the README.
    usage: Python in the README, with {name}, {folder}, {context}, {size} and {width}.
    """

    name: str
    word: str
    title: str
    usage: str


WORLD_MODEL = ExportFile(
    "world_model.json",
    "latent",
    "World model in a latent space",
    """from egowm.latent import {name}

model = {name}.from_pretrained("{folder}")
context = torch.rand(1, {context}, 3, {size}, {size})
made = model.rollout(context, torch.zeros(1, 8, {width}))  # (N, T, A) in these units""",
)
POLICY = ExportFile(
    "policy.json",
    "policy",
    "Policy",
    """from egowm.policies import {name}

policy = {name}.from_pretrained("{folder}")
memory = policy.begin(torch.rand(1, 3, {size}, {size}))  # what it is to see in the end
memory, actions = policy.act(memory, torch.rand(1, 3, {size}, {size}))  # (N, A) in these units""",
)


class Exported(Protocol):
    """The members of a model that an export writes down."""

    export_file: ClassVar[ExportFile]
    size: int
    context: int
    spec: ActionSpec | None

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> str: ...

    def about(self) -> dict[str, Any]: ...

    def meaning(self) -> dict[str, Any]: ...

    def mean(self, saved: Mapping[str, Any]) -> None: ...

    def spec_of(self, source: str | None) -> ActionSpec: ...

    def trained_weights(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...

    def eval(self) -> Any: ...


class _Record(TypedDict):
    format: int
    arguments: dict[str, Any]
    base_sha256: str | None
    weights_sha256: str
    spec: SpecRecord
    specs: dict[str, SpecRecord]


def save(model: Exported, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write an export, whole or not at all; see `RSSM.save_pretrained`.

    Raises ValueError for a model that is not fitted, for weights with NaN or infinity, and for
    those that `dtype` cannot hold.
    """
    check_folder(folder, EXPORT, force=True)
    if model.spec is None or not hasattr(model, "built"):
        raise ValueError("Nothing to save yet: fit the model or load weights first.")
    weights = model.trained_weights()
    check_finite(weights, "Nothing was written", f"{EARLIER}.")
    rounded = {k: v.detach().cpu().to(dtype or v.dtype).contiguous() for k, v in weights.items()}
    check_rounded(
        rounded, weights.__getitem__, "Nothing was written", "Export without rounding: no --half."
    )
    names = [n for n in inspect.signature(type(model).__init__).parameters if n != "self"]
    arguments = {name: getattr(model, name) for name in names if name != "spec"}
    file = model.export_file
    record = {"format": FORMAT, file.word: model.name, "arguments": arguments}
    record |= model.about() | model.meaning()
    with filled(folder, EXPORT) as temporary:
        save_file(rounded, temporary / WEIGHTS)
        record |= {"weights_sha256": sum_of(temporary / WEIGHTS)}
        (temporary / file.name).write_text(json.dumps(record, indent=2) + "\n")
        (temporary / "README.md").write_text(_readme(model, folder))


def load(folder: Path, base: str | None, kinds: Mapping[str, type[Model]]) -> Model:
    """Read an export that `save` wrote.

    Args:
        folder: The export's.
        base: Of the frozen encoder where it moved.
        kinds: The classes that it may be of, by name; nothing is imported by a name in a file.

    Raises FileNotFoundError for a missing file, ValueError for another format or class, damaged
    files, and another base than it was trained on.
    """
    file = next(iter(kinds.values())).export_file
    folder = find(folder, file.name)
    path = folder / file.name
    named = load_json(path, EXPECTED)
    found = named.get(file.word) if isinstance(named, dict) else None
    make = kinds.get(found) if isinstance(found, str) else None
    if make is None or named.get("format") != FORMAT:
        raise ValueError(
            f"{path}: expected an export of {' or '.join(kinds)} in format {FORMAT}, got "
            f"{found!r} in format {named.get('format')!r}."
        )
    record: _Record = read_json(path, _Record, EXPECTED)
    arguments = record["arguments"]
    if base is not None:
        if not arguments.get("encoder"):
            raise ValueError(f"{folder} has no frozen encoder: leave the base out.")
        arguments = arguments | {"encoder": base}
    if arguments.get("encoder") and not Path(arguments["encoder"]).is_dir():
        raise FileNotFoundError(
            f"{folder} was trained on the frozen encoder {arguments['encoder']}, which is no "
            f"folder here: say where it is, base=FOLDER (--base)."
        )
    encoder = weight_files(Path(arguments["encoder"])) if arguments.get("encoder") else []
    sizes = room_for([folder / WEIGHTS, *encoder])
    with undamaged(path):
        check_arguments(make, arguments)
        with no_larger_than(*sizes):
            model = make(**arguments)
            model.mean(record)
    if model.about()["base_sha256"] != record["base_sha256"]:
        raise ValueError(
            f"{folder} was trained on another encoder than {model.base}: pass base=FOLDER (--base)."
        )
    with undamaged(folder / WEIGHTS):
        weights = read_weights(folder / WEIGHTS, record["weights_sha256"])
    check_finite(weights, str(folder / WEIGHTS), "Export an earlier checkpoint.")
    with undamaged(folder / WEIGHTS):
        _take(model, weights)
    model.eval()
    return model


def _take(model: Exported, weights: dict[str, Tensor]) -> None:
    """All that `save` wrote, and nothing else."""
    if weights.keys() != (own := model.trained_weights()).keys():
        other = min(weights.keys() ^ own.keys())
        raise ValueError(f"Expected the weights of {model.name}, {other} is missing or unknown")
    model.load_state_dict(weights, strict=False)


def _readme(model: Exported, folder: Path) -> str:
    spec, file = model.spec_of(None), model.export_file
    usage = file.usage.format(
        name=model.name,
        folder=folder.as_posix(),
        context=model.context,
        size=model.size,
        width=spec.width,
    )
    return f"""# {file.title}

`{model.name}` for frames of {model.size}x{model.size} at {spec.rate_hz:g} Hz.
Actions: {spec.kind}, frame {spec.frame}:

{spec_table(spec)}

```python
import torch

{usage}
```
"""
