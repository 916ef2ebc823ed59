"""World models as diffusers pipelines: the base with the fine-tuned network in its place, and what
egowm adds beside it.

The stock pipeline opens the folder and adds no action; `WorldModel.from_pretrained` opens it as an
export and its base in one.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from egowm.backbones.base import Backbone, weights_sha256
from egowm.checksums import sum_of
from egowm.export import OPENS, RECORD, WEIGHTS, readme, record_of
from egowm.exported_weights import weights_of
from egowm.files import FolderKind, begins, check_folder, filled
from egowm.loading import CONFIG, EMPTY, INDEX, read_json, weight_files
from egowm.metadata import Described
from egowm.paths import inside

log = logging.getLogger(__name__)
PIPELINE = FolderKind(
    "egowm export --as diffusers",
    r"(model_index|world_model)\.json|(weights|empty_text)\.safetensors|README\.md|\w+/[^/.][^/]*",
    lambda folder: (folder / INDEX).is_file() and begins(folder / RECORD, OPENS),
)
NETWORK = "diffusion_pytorch_model.safetensors"
SETTINGS = (".json", ".txt", ".model", ".jinja")  # of a part, beside its weights
INSIDE = {"pretrained": ".", "revision": None, "download": False, "vae_folder": ""}


def save(model: Described, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write a pipeline's folder, whole or not at all; see `WorldModel.save_pipeline`.

    Args:
        model: Fitted or loaded, on a pipeline of diffusers.
        folder: New, or one that was written so before.
        dtype: The network's and the embeddings' weights are rounded to it; None keeps theirs.

    Raises ValueError for a backbone that is no pipeline of diffusers or means another thing by its
    network's output, for weights with NaN or infinity, and for those that `dtype` cannot hold.
    """
    check_folder(folder, PIPELINE, force=True)
    model.backbone.check_pipeline()
    record, backbone = record_of(model), model.backbone
    index, name = _index(backbone), network_part(backbone)
    weights = weights_of(model, dtype)
    trained = [key for key in weights if key.startswith("network.")]
    network = {key.removeprefix("network."): weights.pop(key) for key in trained}
    text = readme(model, record, folder) + _note(folder, str(index["_class_name"]), name)
    with filled(folder, PIPELINE) as temporary:
        _copy_base(backbone, index, name, temporary)
        save_file(network, temporary / name / NETWORK, {"format": "pt"})
        backbone.save_settings(temporary)
        save_file(weights, temporary / WEIGHTS)
        sums = {"base_sha256": weights_sha256(temporary), WEIGHTS: sum_of(temporary / WEIGHTS)}
        told = json.dumps(_inside(record, sums), indent=2)
        (temporary / RECORD).write_text(f"{told}\n", encoding="utf-8")
        (temporary / "README.md").write_text(text, encoding="utf-8")


def network_part(backbone: Backbone) -> str:
    """The name that a pipeline has for the network: "unet" or "transformer"."""
    return next(name for name, part in backbone.parts.items() if part is backbone.network)


def _inside(record: dict[str, Any], sums: dict[str, str]) -> dict[str, Any]:
    """The record of an export whose base is its own folder."""
    arguments = record["backbone_arguments"]
    base = {name: arguments[name] for name in ("pretrained", "revision") if name in arguments}
    known = {name: value for name, value in INSIDE.items() if name in arguments}
    told = {"backbone_arguments": arguments | known, "base_sha256": sums["base_sha256"]}
    base |= {"sha256": record["base_sha256"]}
    return record | told | {"pipeline": True, "base": base, "weights_sha256": sums[WEIGHTS]}


def _index(backbone: Backbone) -> dict[str, Any]:
    """What the base's parts are; refuses one that diffusers has no pipeline for."""
    import diffusers

    known = hasattr(backbone, "folder") and (backbone.folder / INDEX).is_file()
    index = read_json(backbone.folder, INDEX) if known else {}
    name = index.get("_class_name")
    if not isinstance(name, str) or not hasattr(diffusers, name):
        raise ValueError(
            f"{type(backbone).__name__}: {name} is no pipeline of diffusers. Save an export of "
            f"egowm instead (save_pretrained, or egowm export without --as)."
        )
    return index


def _copy_base(backbone: Backbone, index: dict[str, Any], network: str, folder: Path) -> None:
    """All parts of the base but the network's weights, and the index of them."""
    other_vae = str(getattr(backbone, "vae_folder", ""))
    for name, told in index.items():
        if name.startswith("_") or not isinstance(told, list) or None in told:
            continue
        source = inside(backbone.folder, name, str(backbone.folder / INDEX))
        if name == "vae" and other_vae:
            source = Path(other_vae)
        if not source.is_dir():
            log.warning("%s has no %s: give the stock pipeline one.", backbone.folder, name)
        elif name == network:
            (folder / name).mkdir()
            shutil.copyfile(source / CONFIG, folder / name / CONFIG)
        else:
            _copy_part(source, folder / name)
    if (backbone.folder / EMPTY).is_file():
        shutil.copyfile(backbone.folder / EMPTY, folder / EMPTY)
    own = {"vae": ["diffusers", type(backbone.parts["vae"]).__name__]}  # it may be another
    (folder / INDEX).write_text(f"{json.dumps(index | own, indent=2)}\n", encoding="utf-8")


def _copy_part(source: Path, target: Path) -> None:
    """Settings, and the weights that are read, under the names that are looked for first."""
    target.mkdir()
    for file in _read_of(source):
        plain = re.sub(r"\.fp16(?=\.(safetensors|json)$)", "", file.name)
        if plain == file.name or not (source / plain).is_file():
            shutil.copyfile(file, target / plain)
    load_in_float32(target)


def _read_of(source: Path) -> Iterator[Path]:
    yield from (file for file in weight_files(source) if file.parent == source)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.suffix in SETTINGS and not file.name.startswith("."):
            yield file


def load_in_float32(folder: Path) -> None:
    """diffusers' models load in float32 if nothing else is asked; those of transformers in what
    their configuration says, and a pipeline of both types fails in its first product."""
    settings = read_json(folder, CONFIG) if (folder / CONFIG).is_file() else {}
    told = [name for name in ("dtype", "torch_dtype") if name in settings]
    if told:
        settings |= dict.fromkeys(told, "float32")
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _note(folder: Path, pipeline: str, network: str) -> str:
    """How diffusers opens the folder, for its README."""
    return f"""
This folder is a pipeline of diffusers, too. Its {network} is the fine-tuned one; the stock pipeline
adds no action, so it shows what the network imagines without being told any:

```python
from diffusers import {pipeline}

pipeline = {pipeline}.from_pretrained("{folder.as_posix()}")
```
"""
