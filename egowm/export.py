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
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from egowm.actions import ActionSpec
from egowm.backbones.base import Backbone
from egowm.files import FolderKind, begins, check_folder, filled
from egowm.metadata import Described, check_base, describe, specs_of
from egowm.network.trained_part import merged_weights
from egowm.shipped import world_models

log = logging.getLogger(__name__)
FORMAT = 1
EXPORT = FolderKind(
    "egowm export",
    r"weights\.safetensors|world_model\.json|README\.md",
    lambda folder: begins(folder / "world_model.json", rb'\{\s*"format": \d+,\s*"backbone": '),
)
GONE = ("random_start",)  # arguments of older exports, of training alone
Model = TypeVar("Model", bound=Any)
TRAINING_ONLY: dict[str, Any] = {
    "random": [],
    "memo_frames": 0,
    "start": None,
}  # arguments that an export starts without


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
    """
    check_folder(folder, EXPORT, force=True)
    backbone = model.backbone
    if model.spec is None or not hasattr(backbone, "network"):
        raise ValueError("Nothing to save yet: fit the model or load weights first.")
    network = merged_weights(backbone.network, dtype)
    weights = {f"network.{k}": v for k, v in network.items()}
    weights |= _embeddings(model) | _empty_text(backbone)
    weights = {k: v.detach().cpu().to(dtype or v.dtype).contiguous() for k, v in weights.items()}
    arguments = _arguments(backbone)
    record = {
        "format": FORMAT,
        "backbone": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "backbone_arguments": arguments
        | {k: TRAINING_ONLY[k] for k in TRAINING_ONLY & arguments.keys()},
    } | describe(model)
    with filled(folder, EXPORT) as temporary:
        save_file(weights, temporary / "weights.safetensors")
        (temporary / "world_model.json").write_text(json.dumps(record, indent=2) + "\n")
        (temporary / "README.md").write_text(_readme(model, record, folder) + note)


def load(folder: Path, base: str | None, make: Callable[..., Model]) -> Model:
    """Read an export that `save` wrote, or one that comes with egowm.

    Args:
        folder: the export's folder, or the short name of a shipped model ("rooms"); a folder of
            that name goes first.
        base: where the base pipeline lies now, if it moved.
        make: `WorldModel`, which is built from the parts that the export names.

    Raises FileNotFoundError for a missing file, ValueError for another format, class or base.
    """
    folder = _found(folder)
    path = folder / "world_model.json"
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): copy the export again.") from error
    if record.get("format") != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {record.get('format')!r}.")
    arguments = {k: v for k, v in record["backbone_arguments"].items() if k not in GONE}
    arguments |= {"pretrained": base} if base else {}
    backbone = _backbone_class(record["backbone"])(**arguments)
    specs = specs_of(record)
    model = make(
        backbone,
        features=record["features"],
        alignment=record.get("alignment", "concatenate"),
        drop_action=record.get("drop_action", 0.0),
        chunk=record["chunk"],
        steps=record["steps"],
        spec=specs.spec,
        state_spec=specs.state_spec,
    )
    model.familiar_psnr, model.specs = record["familiar_psnr"], specs.specs
    model.configure_model()
    check_base(backbone, record["base_sha256"], f"{folder} belongs to", "Pass base=FOLDER.")
    try:
        weights = load_file(folder / "weights.safetensors")
    except SafetensorError as error:
        raise ValueError(f"{folder}: damaged weights ({error}): copy the export again.") from error
    _fill(backbone.network, weights, "network.")
    if "text.embedding" in weights:
        assert backbone.codec.texts is not None
        backbone.codec.texts.remember("", weights["text.embedding"], weights["text.mask"])
    own = {k: v for k, v in weights.items() if not k.startswith(("network.", "text."))}
    left = model.load_state_dict(own, strict=False)
    missing = set(_embeddings(model)) & set(left.missing_keys)
    if missing or left.unexpected_keys:
        raise RuntimeError(
            f"{folder}: Missing key(s) {sorted(missing)}, unexpected key(s) "
            f"{left.unexpected_keys} in weights.safetensors: copy the export again."
        )
    return model.eval()


def _found(folder: Path) -> Path:
    """The folder itself where it exists, else the shipped model of that name."""
    known = world_models()
    path = folder if folder.is_dir() else known.get(str(folder), folder)
    if not (path / "world_model.json").is_file():
        raise FileNotFoundError(
            f"Expected an export (world_model.json) in {folder}, found none: give the folder that "
            f"save_pretrained wrote, or the name of a shipped model ({', '.join(known)})."
        )
    return path


def _embeddings(model: Described) -> dict[str, torch.Tensor]:
    """What egowm adds to the backbone: the weights of the embeddings."""
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.startswith("backbone.")}


def _empty_text(backbone: Backbone) -> dict[str, torch.Tensor]:
    """What "" means to the backbone: an export needs no text encoder for it."""
    if backbone.codec.texts is None:
        return {}
    embedding, mask = backbone.codec.texts([""], torch.device("cpu"))
    return {"text.embedding": embedding[0], "text.mask": mask[0]}


def _fill(module: torch.nn.Module, weights: dict[str, torch.Tensor], prefix: str) -> None:
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    module.load_state_dict(own, strict=True)


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


def _readme(model: Described, record: dict[str, Any], folder: Path) -> str:
    spec = model.spec
    assert spec is not None
    tables = "\n\n".join(
        f"Ranges of source `{source}`:\n\n{_table(ranges)}"
        for source, ranges in model.specs.items()
    )
    state = f", state=torch.zeros(1, {model.state_spec.width})" if model.state_spec else ""
    return f"""# World model

An action-conditioned world model: the weights of the network and of the action embedding.

- Base: `{record["backbone_arguments"]["pretrained"]}` (sha256 `{record["base_sha256"]}`); its
  licence applies to these weights too.
- Frames: {model.chunk} at once, {spec.rate_hz:g} Hz. Sampling steps: {model.steps}.
- Actions: {spec.kind}, frame {spec.frame}:

{tables or _table(spec)}

```python
import torch

from egowm import WorldModel

model = WorldModel.from_pretrained("{folder.as_posix()}")
context = torch.rand(1, {model.backbone.context}, 3, 64, 64)  # of the size it was trained on
actions = torch.zeros(1, {model.chunk}, {spec.width})  # (N, T, A) in these units
frames = model.rollout(context, actions{state}).frames  # (N, T, 3, H, W) in [0, 1]
```
"""


def _table(spec: ActionSpec) -> str:
    """Dimensions with units and ranges, as Markdown."""
    rows = (
        f"| {name} | {unit} | {low:.4g} | {high:.4g} |"
        for name, unit, low, high in zip(spec.names, spec.units, spec.low, spec.high, strict=True)
    )
    return "\n".join(("| dimension | unit | low | high |", "|---|---|---|---|", *rows))
