"""Exports: trained weights, what the actions mean, and which base they belong to.

A folder with `weights.safetensors`, `world_model.json` and a README. Loading never runs code from
the folder: safetensors only, and the backbone class must be egowm's or a `Backbone` subclass that
the caller has imported.
"""

import inspect
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, TypeVar, get_args

import torch
from safetensors.torch import save_file

from egowm.actions import ActionSpec
from egowm.actions.spec import Kind
from egowm.backbones.arguments import check_arguments
from egowm.backbones.base import Backbone
from egowm.checksums import sum_of
from egowm.exported_weights import read_weights, take_weights, weights_of
from egowm.files import FolderKind, begins, check_folder, filled
from egowm.limits import load_json
from egowm.metadata import Described, ExportRecord, Specs, check_base, describe, specs_of
from egowm.network.finite import check_finite
from egowm.readable import undamaged
from egowm.shipped import world_models
from egowm.typed_json import read_json

log = logging.getLogger(__name__)
FORMAT, WEIGHTS, RECORD = 1, "weights.safetensors", "world_model.json"
EXPECTED = "what save_pretrained writes (copy the export again)"
LARGEST = 10_000  # of steps, and of frames at once
OPENS = rb'\{\s*"format": \d+,\s*"(backbone|latent|policy)": '
EXPORT = FolderKind(
    "egowm export",
    r"weights\.safetensors|(world_model|policy)\.json|README\.md",
    lambda folder: any(begins(folder / f"{x}.json", OPENS) for x in ("world_model", "policy")),
)
GONE = ("random_start",)  # arguments of older exports, of training alone
Model = TypeVar("Model", bound=Any)
TRAINING_ONLY: dict[str, Any] = {
    "random": [],
    "memo_frames": 0,
    "start": None,
}  # arguments that an export starts without


class _Format(TypedDict):
    format: int


def save(model: Described, folder: Path, dtype: torch.dtype | None = None, note: str = "") -> None:
    """Write an export, whole or not at all; one that is there is replaced, another folder refused.

    The network's weights (a LoRA merged into them), the embeddings' and the embedding of the text
    "" are saved; VAE and encoders stay in the base, which is named by path or id, revision and
    hash.

    Args:
        model: Fitted or loaded.
        folder: New, or an export.
        dtype: The weights are rounded to it (float16 halves the file); None keeps theirs.
        note: More text for the README.

    Raises ValueError for weights with NaN or infinity, and for those that `dtype` cannot hold.
    """
    check_folder(folder, EXPORT, force=True)
    record = record_of(model)
    weights = weights_of(model, dtype)
    with filled(folder, EXPORT) as temporary:
        save_file(weights, temporary / WEIGHTS)
        record |= {"weights_sha256": sum_of(temporary / WEIGHTS)}
        (temporary / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        (temporary / "README.md").write_text(readme(model, record, folder) + note)


def record_of(model: Described) -> dict[str, Any]:
    """What an export says of a model, without the sum of its weights.

    Raises ValueError for a model that is not fitted.
    """
    backbone = model.backbone
    if model.spec is None or not hasattr(backbone, "network"):
        raise ValueError("Nothing to save yet: fit the model or load weights first.")
    arguments = _arguments(backbone)
    return {
        "format": FORMAT,
        "backbone": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "backbone_arguments": arguments
        | {k: TRAINING_ONLY[k] for k in TRAINING_ONLY & arguments.keys()},
    } | describe(model)


def load(
    folder: Path, base: str | None, make: Callable[..., Model], download: bool = False
) -> Model:
    """Read an export that `save` wrote, or one that comes with egowm.

    Args:
        folder: the export's folder, or the short name of a shipped model ("rooms"); a folder of
            that name goes first.
        base: where the base pipeline lies now, if it moved.
        make: `WorldModel`, which is built from the parts that the export names.
        download: whether a base that is named by an id and a revision may be downloaded.

    Raises FileNotFoundError for a missing file, ValueError for another format, class or base.
    """
    folder = find(folder)
    path = folder / RECORD
    check_format(path)
    if "latent" in load_json(path, EXPECTED):
        raise ValueError(
            f"{path}: an export of a latent model: load it by egowm.latent.from_pretrained."
        )
    record: ExportRecord = read_json(path, ExportRecord, EXPECTED)
    arguments = _given(folder, record, base, download)
    kind = _backbone_class(record["backbone"])
    with undamaged(path):
        check_arguments(kind, arguments)
        specs = _specs(record)
        given = {
            "backbone": kind(**arguments),
            "features": record["features"],
            "alignment": record.get("alignment", "concatenate"),
            "drop_action": record.get("drop_action", 0.0),
            "chunk": record["chunk"],
            "steps": record["steps"],
            "spec": specs.spec,
            "state_spec": specs.state_spec,
        }
        check_arguments(make, given)
        model = make(**given)
    model.specs = specs.specs
    _load_base(model, base)
    check_base(model.backbone, record["base_sha256"], f"{folder} belongs to", "Pass base=FOLDER.")
    with undamaged(folder / WEIGHTS):
        weights = read_weights(folder / WEIGHTS, record.get("weights_sha256"))
    check_finite(weights, str(folder / WEIGHTS), "Export an earlier checkpoint.")
    with undamaged(folder / WEIGHTS):
        take_weights(model, weights, "pipeline" in record)
    return model.eval()


def check_format(path: Path) -> None:
    """Refuse a record that another version of egowm wrote, which may mean something else."""
    found = read_json(path, _Format, EXPECTED)["format"]
    if found != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {found!r}.")


def _given(folder: Path, record: ExportRecord, base: str | None, download: bool) -> dict[str, Any]:
    """The arguments of the backbone: nothing is downloaded because a file says so."""
    arguments = {k: v for k, v in record["backbone_arguments"].items() if k not in GONE}
    if "pipeline" in record:
        if base is not None:
            raise ValueError(f"{folder} is a pipeline, which holds its base: leave the base out.")
        return arguments | {"pretrained": str(folder)}
    if "download" in arguments:
        arguments["download"] = download and bool(arguments.get("revision"))
    return arguments | ({"pretrained": base} if base else {})


def _load_base(model: Any, base: str | None) -> None:
    """Load the parts; a base that is missing is given in another way than to a fit."""
    try:
        model.configure_model()
    except FileNotFoundError as error:
        if base is not None:
            raise
        raise FileNotFoundError(f"{error} To an export: base=PATH, or --base PATH.") from error


def _specs(record: ExportRecord) -> Specs:
    """Refuses meanings and numbers that no `save` wrote."""
    for name in ("chunk", "steps"):
        if not 1 <= record[name] <= LARGEST:  # type: ignore[literal-required]
            raise ValueError(f"expected {name} from 1 to {LARGEST}, got {record[name]}")  # type: ignore[literal-required]
    specs = specs_of(record)
    for spec in filter(None, (specs.spec, specs.state_spec, *specs.specs.values())):
        if spec.kind not in get_args(Kind) or spec.rate_hz <= 0:
            raise ValueError(
                f"expected actions of kind {', '.join(get_args(Kind))} at a rate above 0, got kind "
                f"{spec.kind!r}, {spec.rate_hz:g} Hz"
            )
    return specs


def find(folder: Path, name: str = "world_model.json") -> Path:
    """The folder itself where it exists, else the shipped model of that name.

    name: of the file that tells what the export is.
    """
    known = world_models() if name == "world_model.json" else {}
    path = folder if folder.is_dir() else known.get(str(folder), folder)
    if not (path / name).is_file():
        shipped = f", or the name of a shipped model ({', '.join(known)})" if known else ""
        raise FileNotFoundError(
            f"Expected an export ({name}) in {folder}, found none: give the folder that "
            f"save_pretrained wrote{shipped}."
        )
    if not (path / WEIGHTS).is_file():
        raise FileNotFoundError(f"{path / WEIGHTS} is missing: copy the export again, as a whole.")
    return path


def _arguments(backbone: Backbone) -> dict[str, Any]:
    """The constructor's arguments, read back from the attributes of the same name."""
    names = [n for n in inspect.signature(type(backbone).__init__).parameters if n != "self"]
    return {name: getattr(backbone, name) for name in names}


def _backbone_class(name: str) -> type[Backbone]:
    """egowm's own classes, or a subclass the caller has imported; nothing is imported by name."""
    import egowm.backbones

    for own in egowm.backbones.__all__:
        getattr(egowm.backbones, own)  # defines egowm's own
    waiting, known = [Backbone], {}
    while waiting:
        parent = waiting.pop()
        waiting += parent.__subclasses__()
        known[f"{parent.__module__}.{parent.__qualname__}"] = parent
    if name not in known or inspect.isabstract(known[name]):
        raise ValueError(f"{name} is not a known backbone: import its class before loading.")
    return known[name]


def readme(model: Described, record: dict[str, Any], folder: Path) -> str:
    """The text of a README."""
    spec = model.spec
    assert spec is not None
    tables = "\n\n".join(
        f"Ranges of source `{source}`:\n\n{spec_table(ranges)}"
        for source, ranges in model.specs.items()
    )
    state = f", state=torch.zeros(1, {model.state_spec.width})" if model.state_spec else ""
    return f"""# World model

An action-conditioned world model: the weights of the network and of the action embedding.

- Base: `{record["backbone_arguments"]["pretrained"]}` (sha256 `{record["base_sha256"]}`); its
  licence applies to these weights too.
- Frames: {model.chunk} at once, {spec.rate_hz:g} Hz. Sampling steps: {model.steps}.
- Actions: {spec.kind}, frame {spec.frame}:

{tables or spec_table(spec)}

```python
import torch

from egowm import WorldModel

model = WorldModel.from_pretrained("{folder.as_posix()}")
context = torch.rand(1, {model.backbone.context}, 3, 64, 64)  # of the size it was trained on
actions = torch.zeros(1, {model.chunk}, {spec.width})  # (N, T, A) in these units
frames = model.rollout(context, actions{state}).frames  # (N, T, 3, H, W) in [0, 1]
```
"""


def spec_table(spec: ActionSpec) -> str:
    """Dimensions with units and ranges, as Markdown."""
    rows = (
        f"| {name} | {unit} | {low:.4g} | {high:.4g} |"
        for name, unit, low, high in zip(spec.names, spec.units, spec.low, spec.high, strict=True)
    )
    return "\n".join(("| dimension | unit | low | high |", "|---|---|---|---|", *rows))
